/*
 * runs.h -- simulations as a function of the module, and errors of the core as exceptions.
 */
#ifndef PC_RUNS_H
#define PC_RUNS_H

#include "arrays.h"

/* Set the exception that an error of the core means, unless one is set already; returns NULL. */
PyObject *
pc_raise_status(int status);

extern const char pc_runs_doc[];

/* precopy._core.simulate */
PyObject *
pc_runs_simulate(PyObject *module, PyObject *args, PyObject *kwargs);

#endif
