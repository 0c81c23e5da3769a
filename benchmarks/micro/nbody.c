/* nbody.c: bodies that attract each other, in a tree that is built anew at each step.

   The method of Barnes and Hut (1986), a workload in the SPLASH suites and in Hoard's: each cell of
   the tree is a block of its own, visited often, so that what counts is where the allocator puts
   them. In a plane, with four quarters to a cell; one thread. */
#include "micro.h"

#include <math.h>

enum { BODIES = 35000, STEPS = 5, DEEPEST = 40 };
static const double reach = 0.7, time_step = 0.001, softening = 1e-4;

struct body {
  double x, y, vx, vy, mass;
};

/* A leaf holds one body (or several in one place, as one mass), an inner cell up to four cells. */
struct cell {
  double mass, x, y; /* of the centre of mass, once finished; before that, sums weighted by mass */
  double size;
  struct cell *quarter[4];
  unsigned bodies;
};

static struct cell *new_cell(double size) {
  struct cell *cell = calloc(1, sizeof *cell);
  if (cell == NULL) give_up("calloc");
  cell->size = size;
  return cell;
}

static void add_mass(struct cell *cell, double mass, double x, double y) {
  cell->mass += mass;
  cell->x += mass * x;
  cell->y += mass * y;
  cell->bodies++;
}

/* Goes down from a cell with that corner; a leaf that is met on the way is moved one step down. */
static void insert(struct cell *cell, double left, double low, double mass, double x, double y) {
  for (int depth = 0; depth < DEEPEST; depth++) {
    unsigned had = cell->bodies;
    double old_mass = cell->mass, half = cell->size / 2;
    double old_x = had == 1 ? cell->x / old_mass : 0, old_y = had == 1 ? cell->y / old_mass : 0;
    add_mass(cell, mass, x, y);
    if (had == 0) return;
    if (had == 1) {
      unsigned i = (old_x >= left + half) | (old_y >= low + half) << 1;
      cell->quarter[i] = new_cell(half);
      add_mass(cell->quarter[i], old_mass, old_x, old_y);
    }
    unsigned right = x >= left + half, up = y >= low + half;
    if (cell->quarter[right | up << 1] == NULL) cell->quarter[right | up << 1] = new_cell(half);
    cell = cell->quarter[right | up << 1];
    left += right * half;
    low += up * half;
  }
}

static void pull(const struct cell *cell, const struct body *body, double *ax, double *ay) {
  double dx = cell->x / cell->mass - body->x, dy = cell->y / cell->mass - body->y;
  double square = dx * dx + dy * dy + softening;
  if (cell->bodies > 1 && cell->size * cell->size > reach * reach * square) {
    for (unsigned i = 0; i < 4; i++)
      if (cell->quarter[i] != NULL) pull(cell->quarter[i], body, ax, ay);
    return;
  }
  double force = cell->mass / (square * sqrt(square));
  *ax += force * dx;
  *ay += force * dy;
}

static void free_cells(struct cell *cell) {
  for (unsigned i = 0; i < 4; i++)
    if (cell->quarter[i] != NULL) free_cells(cell->quarter[i]);
  free(cell);
}

static void step(struct body **bodies, unsigned count) {
  struct cell *root = new_cell(4);
  for (unsigned i = 0; i < count; i++)
    insert(root, -2, -2, bodies[i]->mass, bodies[i]->x, bodies[i]->y);
  for (unsigned i = 0; i < count; i++) {
    double ax = 0, ay = 0;
    pull(root, bodies[i], &ax, &ay);
    bodies[i]->vx += ax * time_step;
    bodies[i]->vy += ay * time_step;
  }
  for (unsigned i = 0; i < count; i++) {
    bodies[i]->x = fmax(-2, fmin(2, bodies[i]->x + bodies[i]->vx * time_step));
    bodies[i]->y = fmax(-2, fmin(2, bodies[i]->y + bodies[i]->vy * time_step));
  }
  free_cells(root);
}

uint64_t run_nbody(unsigned threads, unsigned percent) {
  (void)threads;
  unsigned count = (unsigned)share_of(BODIES, percent, 1);
  struct body **bodies = get(count * sizeof *bodies);
  uint64_t state = 1, sum = 0;
  for (unsigned i = 0; i < count; i++) {
    bodies[i] = get(sizeof **bodies);
    double radius = sqrt((double)random_below(&state, 1u << 30) / (1u << 30));
    double angle = 6.283185307 * (double)random_below(&state, 1u << 30) / (1u << 30);
    *bodies[i] = (struct body){radius * cos(angle), radius * sin(angle), 0, 0, 1.0 / count};
  }
  for (int i = 0; i < STEPS; i++) step(bodies, count);
  for (unsigned i = 0; i < count; i++) {
    sum = sum * 31 + (uint64_t)(int64_t)(bodies[i]->x * 1e9) +
          (uint64_t)(int64_t)(bodies[i]->y * 1e9);
    free(bodies[i]);
  }
  free(bodies);
  return sum;
}
