"""The paper's four data sets, in the layouts in which they are distributed."""
