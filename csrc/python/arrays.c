/*
 * arrays.c -- NumPy arrays and generators as the core wants them.
 */
#include "arrays.h"

void *
pc_array_data(PyObject *object, int type, const char *name, npy_intp *count)
{
    PyArrayObject *array = (PyArrayObject *)object;
    if (!PyArray_Check(object) || PyArray_TYPE(array) != type || PyArray_NDIM(array) != 1 ||
        !PyArray_ISCARRAY_RO(array)) {
        PyArray_Descr *expected = PyArray_DescrFromType(type);
        PyErr_Format(PyExc_TypeError, "%s: expected a contiguous one-dimensional array of %S", name,
                     (PyObject *)expected);
        Py_XDECREF(expected);
        return NULL;
    }
    *count = PyArray_SIZE(array);
    return PyArray_DATA(array);
}

bool
pc_array_optional(PyObject *object, int type, const char *name, npy_intp count, const void **data)
{
    npy_intp length;
    *data = NULL;
    if (object == Py_None)
        return true;
    *data = pc_array_data(object, type, name, &length);
    if (*data && length != count)
        PyErr_Format(PyExc_ValueError, "%s: expected %zd entries, got %zd", name, (Py_ssize_t)count,
                     (Py_ssize_t)length);
    return *data && length == count;
}

pc_alias_t *
pc_array_alias(PyObject *object, bool writable, npy_intp *count)
{
    PyArrayObject *array = (PyArrayObject *)object;
    if (!PyArray_Check(object) || PyArray_TYPE(array) != NPY_UINT64 || PyArray_NDIM(array) != 2 ||
        PyArray_DIM(array, 1) != 2 ||
        !(writable ? PyArray_ISCARRAY(array) : PyArray_ISCARRAY_RO(array))) {
        PyErr_SetString(PyExc_TypeError,
                        "alias: expected a contiguous uint64 array of shape (k, 2)");
        return NULL;
    }
    *count = PyArray_DIM(array, 0);
    return PyArray_DATA(array);
}

bool
pc_array_files(PyObject *size_bytes, PyObject *read_only, pc_files_t *files)
{
    npy_intp count;
    const void *flags;
    files->size_bytes = pc_array_data(size_bytes, NPY_INT64, "size_bytes", &count);
    if (!files->size_bytes || !pc_array_optional(read_only, NPY_BOOL, "read_only", count, &flags))
        return false;
    if (!flags)
        PyErr_SetString(PyExc_TypeError, "read_only: expected an array, got None");
    files->read_only = flags;
    files->count = count;
    return flags != NULL;
}

static bool
borrow_rows(PyObject *tuple, pc_rows_t *rows)
{
    PyObject *file_id, *columns[4];
    static const char *names[] = {"count", "write_bytes", "size_bytes", "from_id"};
    const void *data[4];
    npy_intp count;
    if (!PyArg_ParseTuple(tuple, "OOOOO:rows", &file_id, &columns[0], &columns[1], &columns[2],
                          &columns[3]))
        return false;
    rows->file_id = pc_array_data(file_id, NPY_INT64, "file_id", &count);
    if (!rows->file_id)
        return false;
    for (int i = 0; i < 4; i++) {
        if (!pc_array_optional(columns[i], NPY_INT64, names[i], count, &data[i]))
            return false;
        if (!data[i]) {
            PyErr_Format(PyExc_TypeError, "%s: expected an array, got None", names[i]);
            return false;
        }
    }
    rows->count = count;
    rows->updates = data[0];
    rows->write_bytes = data[1];
    rows->size_bytes = data[2];
    rows->from_id = data[3];
    return true;
}

bool
pc_array_recording(PyObject *object, npy_intp files, pc_recording_t *recording)
{
    PyObject *present, *rows, *back;
    npy_intp count;
    if (!PyTuple_Check(object)) {
        PyErr_Format(PyExc_TypeError, "recording: expected a tuple, got %R", object);
        return false;
    }
    if (!PyArg_ParseTuple(object, "OO!O!:recording", &present, &PyTuple_Type, &rows, &PyTuple_Type,
                          &back))
        return false;
    recording->present = pc_array_data(present, NPY_BOOL, "present", &count);
    if (!recording->present)
        return false;
    if (count != files) {
        PyErr_Format(PyExc_ValueError, "present: expected %zd entries, got %zd", (Py_ssize_t)files,
                     (Py_ssize_t)count);
        return false;
    }
    return borrow_rows(rows, &recording->rows) && borrow_rows(back, &recording->back);
}

bitgen_t *
pc_array_bitgen(PyObject *bit_generator)
{
    PyObject *capsule = PyObject_GetAttrString(bit_generator, "capsule");
    bitgen_t *bitgen = capsule ? PyCapsule_GetPointer(capsule, "BitGenerator") : NULL;
    Py_XDECREF(capsule); /* the generator keeps it */
    return bitgen;
}
