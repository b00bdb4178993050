/*
 * options.h -- the options of a run, by the names that users give them.
 */
#ifndef PC_OPTIONS_H
#define PC_OPTIONS_H

#include "arrays.h"

/* Take options from a dict into a plan; the arrays among them have one entry per file. */
bool
pc_options_parse(PyObject *dict, npy_intp files, pc_plan_t *plan);

/* Whether the ends of cycles in a dict are as many as the cycles of the plan made of it. */
bool
pc_options_ends_fit(PyObject *dict, const pc_plan_t *plan);

/* How many options there are. */
Py_ssize_t
pc_options_count(void);

/* Add to the module what the package checks arguments against: CHOICES (option -> name -> value),
 * USES_SIZE, USES_UPDATES (orders), STOPS, HALF_LIFE_MIN. */
int
pc_options_export(PyObject *module);

#endif
