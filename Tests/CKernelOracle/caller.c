// The caller's side. It starts the server, gives it programs, and ends it.
#define _GNU_SOURCE
#include "internal.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct ko_oracle {
  struct ko_shared *shared;
  int memory, socket;
  pid_t server;
};

// Uses posix_spawn instead of fork. It copies no page tables, so the huge pages of the caller stay
// writable, and the child never holds a lock of another thread.
static int start(struct ko_oracle *oracle) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) return errno;
  // Use a number other than those in the server, because a dup2 onto the same number keeps CLOEXEC.
  int theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, 10);
  close(pair[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, oracle->memory, KO_MEMORY_DESCRIPTOR);
  posix_spawn_file_actions_adddup2(&actions, theirs, KO_SOCKET_DESCRIPTOR);
  posix_spawn_file_actions_addclosefrom_np(&actions, KO_SOCKET_DESCRIPTOR + 1);
  char variable[] = KO_SERVER_VARIABLE "=1";
  // Pass only the loader's search path, which it may need.
  const char *path = getenv("LD_LIBRARY_PATH");
  char *search = NULL;
  if (path) {
    search = malloc(strlen(path) + sizeof "LD_LIBRARY_PATH=");
    strcat(strcpy(search, "LD_LIBRARY_PATH="), path);
  }
  char *environment[] = {variable, search, NULL};
  char name[] = "kernel-oracle";
  char *arguments[] = {name, NULL};
  int error = posix_spawn(&oracle->server, "/proc/self/exe", &actions, NULL, arguments, environment);
  posix_spawn_file_actions_destroy(&actions);
  free(search);
  close(theirs);
  oracle->socket = pair[0];
  if (error) {
    close(pair[0]);
    oracle->server = 0;
  }
  return error;
}

// Kills the server. The processes of a program die with it (PR_SET_PDEATHSIG).
static void stop(struct ko_oracle *oracle) {
  if (!oracle->server) return;
  kill(oracle->server, SIGKILL);
  while (waitpid(oracle->server, NULL, 0) < 0 && errno == EINTR) {}
  close(oracle->socket);
  oracle->server = 0;
}

struct ko_oracle *ko_open(void) {
  struct ko_oracle *oracle = calloc(1, sizeof *oracle);
  if (!oracle) return NULL;
  int memory = memfd_create("kernel-oracle", MFD_CLOEXEC);
  oracle->memory = memory < 0 ? memory : fcntl(memory, F_DUPFD_CLOEXEC, 10);
  if (memory >= 0) close(memory);
  if (oracle->memory >= 0 && !ftruncate(oracle->memory, sizeof *oracle->shared)) {
    oracle->shared = mmap(NULL, sizeof *oracle->shared, PROT_READ | PROT_WRITE, MAP_SHARED,
                          oracle->memory, 0);
    if (oracle->shared != MAP_FAILED) {
      int error = start(oracle);
      if (!error) return oracle;
      munmap(oracle->shared, sizeof *oracle->shared);
      errno = error;
    }
  }
  int error = errno;
  if (oracle->memory >= 0) close(oracle->memory);
  free(oracle);
  errno = error;
  return NULL;
}

void ko_close(struct ko_oracle *oracle) {
  stop(oracle);
  munmap(oracle->shared, sizeof *oracle->shared);
  close(oracle->memory);
  free(oracle);
}

int ko_execute(struct ko_oracle *oracle, const struct ko_step *steps, uint32_t count,
               uint32_t timeout_milliseconds) {
  if (count > KO_STEPS) return KO_TOO_LARGE;
  if (!oracle->server && start(oracle)) return KO_NO_SERVER;
  struct ko_shared *shared = oracle->shared;
  memcpy(shared->steps, steps, count * sizeof *steps);
  shared->step_count = count;
  char byte = 0;
  // MSG_NOSIGNAL: if the server has died, return a status instead of raising SIGPIPE.
  if (send(oracle->socket, &byte, 1, MSG_NOSIGNAL) == 1) {
    struct pollfd waiting = {.fd = oracle->socket, .events = POLLIN};
    int ready;
    while ((ready = poll(&waiting, 1, (int)timeout_milliseconds)) < 0 && errno == EINTR) {}
    if (ready == 0) {
      stop(oracle);
      return KO_HUNG;
    }
    if (read(oracle->socket, &byte, 1) == 1) return (int)shared->status;
  }
  stop(oracle);
  return KO_NO_SERVER;
}

const struct ko_record *ko_records(const struct ko_oracle *oracle) {
  return oracle->shared->records;
}
const struct ko_run *ko_runs(const struct ko_oracle *oracle) { return oracle->shared->runs; }
const struct ko_counters *ko_growth(const struct ko_oracle *oracle) {
  return &oracle->shared->growth;
}
