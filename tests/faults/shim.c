/* Preloaded into a program: the n-th system call that changes something below a folder fails, or is where it is killed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { KILL, TEAR, IO_ERROR, NO_SPACE };

static char root[4096], calls[1 << 16];
static long fault_at, count;
static enum kind fault;

/* Begin to count the calls below a folder; the fault happens at call `at`, from 1, and nowhere if that is 0. */
void faults_arm(const char *folder, long at, int kind) {
  snprintf(root, sizeof root, "%s/", folder);
  fault_at = at, fault = (enum kind)kind, count = 0;
}

/* A letter per call so far: append to rows, write, rename, and - for others. */
const char *faults_calls(void) { return calls; }

static int is_below(const char *path) { return root[0] && strncmp(path, root, strlen(root)) == 0; }

static int is_path_of(int file, char path[4096]) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = root[0] ? readlink(link, path, 4095) : 0;
  path[length > 0 ? length : 0] = 0;
  return is_below(path);
}

static int is_open_below(int file) {
  char path[4096];
  return is_path_of(file, path);
}

static char letter_of_write(int file) {
  char path[4096];
  is_path_of(file, path);
  const char *name = strrchr(path, '/'), *ending = strrchr(path, '.');
  return name && name[1] != '.' && ending && strcmp(ending, ".jsonl") == 0 ? 'a' : 'w';
}

static int is_due(char letter) {
  long number = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
  if (number < (long)sizeof calls) calls[number - 1] = letter;
  return number == fault_at;
}

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static int failed(void) {
  errno = fault == NO_SPACE ? ENOSPC : EIO;
  return -1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* A call that happens as a whole or not at all. */
#define WHOLE(letter, name, declared, given, concerned)             \
  int name declared {                                               \
    if (!(concerned) || !is_due(letter)) return REAL(name) given;   \
    if (fault == KILL || fault == TEAR) die();                      \
    return failed();                                                \
  }

WHOLE('-', fsync, (int file), (file), is_open_below(file))
WHOLE('-', fdatasync, (int file), (file), is_open_below(file))
WHOLE('-', ftruncate, (int file, off_t size), (file, size), is_open_below(file))
WHOLE('-', ftruncate64, (int file, off64_t size), (file, size), is_open_below(file))
WHOLE('r', rename, (const char *from, const char *to), (from, to), is_below(to))
WHOLE('r', renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), is_below(to))
WHOLE('-', link, (const char *from, const char *to), (from, to), is_below(to))
WHOLE('-', mkdir, (const char *path, mode_t mode), (path, mode), is_below(path))
WHOLE('-', rmdir, (const char *path), (path), is_below(path))
WHOLE('-', unlink, (const char *path), (path), is_below(path))

/* A write of which half arrives where it is torn or fails. */
#define PARTIAL(name, declared, given, half)                                             \
  ssize_t name declared {                                                                \
    if (!is_open_below(file) || !is_due(letter_of_write(file))) return REAL(name) given; \
    if (fault != KILL) REAL(name) half;                                                  \
    if (fault == KILL || fault == TEAR) die();                                           \
    return failed();                                                                     \
  }

PARTIAL(write, (int file, const void *bytes, size_t size), (file, bytes, size), (file, bytes, size / 2))
PARTIAL(pwrite, (int file, const void *bytes, size_t size, off_t at), (file, bytes, size, at), (file, bytes, size / 2, at))
PARTIAL(writev, (int file, const struct iovec *parts, int size), (file, parts, size), (file, parts, size / 2))
