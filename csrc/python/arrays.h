/*
 * arrays.h -- NumPy arrays and generators as the core wants them: borrowed, checked, never copied.
 *
 * A function that returns NULL or false has set an exception that names the argument.
 */
#ifndef PC_ARRAYS_H
#define PC_ARRAYS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* One copy of NumPy's table of functions serves all files of the binding; module.c fills it. */
#define PY_ARRAY_UNIQUE_SYMBOL precopy_numpy_api
#ifndef PC_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>

#include "precopy.h"

/* The data of a one-dimensional native C array of the given type. */
void *
pc_array_data(PyObject *object, int type, const char *name, npy_intp *count);

/* The same for an argument that may be None, where `data` becomes NULL; a length other than `count`
 * is an error. */
bool
pc_array_optional(PyObject *object, int type, const char *name, npy_intp count, const void **data);

/* Alias tables travel as arrays of 16-byte records, two uint64 columns for all NumPy knows. */
pc_alias_t *
pc_array_alias(PyObject *object, bool writable, npy_intp *count);

/* The sizes and access types of files. */
bool
pc_array_files(PyObject *size_bytes, PyObject *read_only, pc_files_t *files);

/* A recording: (present, rows, back), where present is bool[files], and rows and back are tuples of
 * the columns of pc_rows_t, int64 and of one length each. */
bool
pc_array_recording(PyObject *object, npy_intp files, pc_recording_t *recording);

/* The bit generator inside one of NumPy's; that one must outlive it. */
bitgen_t *
pc_array_bitgen(PyObject *bit_generator);

#endif
