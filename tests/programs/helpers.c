/* helpers.c: a program of one thread that collects by itself, and whose next call needs that it has
   but one thread. helpers

   A tree is held throughout and verified; each round drops another as large. */
#include "program.h"

#include <dirent.h>
#include <sched.h>

enum { ROUNDS = 200, DEPTH = 12 };

struct node {
  struct node *left, *right;
  unsigned long number;
};

static struct node *make(unsigned depth, unsigned long number) {
  struct node *node = malloc(sizeof *node + number % 50);
  CHECK(node);
  node->number = number;
  node->left = depth ? make(depth - 1, 2 * number) : NULL;
  node->right = depth ? make(depth - 1, 2 * number + 1) : NULL;
  return node;
}

static unsigned long verify(const struct node *node, unsigned long number) {
  CHECK(node->number == number);
  if (!node->left) return 1;
  return 1 + verify(node->left, 2 * number) + verify(node->right, 2 * number + 1);
}

static int tasks(void) {
  DIR *directory = opendir("/proc/self/task");
  CHECK(directory);
  int count = -2; /* "." and ".." */
  while (readdir(directory)) count++;
  closedir(directory);
  return count;
}

static NOINLINE void drop(void) {
  struct node *volatile lost = make(DEPTH, 1);
  CHECK(lost);
}

int main(void) {
  struct node *kept = make(DEPTH, 1);
  for (int round = 0; round < ROUNDS; round++) {
    drop();
    collect();
    CHECK(unshare(CLONE_THREAD) == 0);
    CHECK(tasks() == 1);
    CHECK(verify(kept, 1) == (2ul << DEPTH) - 1);
  }
  return 0;
}
