/* The module ssfr.components.projection._kernel: checks everything, then lets the kernel run without the GIL. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "project.h"
#include "smooth.h"

enum { MAX_THREADS = 1024, MAX_PIXELS = 32768, MAX_FIELDS = 1024 };

static bool is_native(const char *format, char code)
{
    if (format == NULL)
        return false;
    if (*format == '@' || *format == '=')
        format++;
    return format[0] == code && format[1] == '\0';
}

static bool is_array(const Py_buffer *view, const char *name, char code, const char *type, int dimensions)
{
    if (view->ndim != dimensions) {
        PyErr_Format(PyExc_ValueError, "%s: expected %d dimensions, found %d", name, dimensions, view->ndim);
        return false;
    }
    if (!is_native(view->format, code)) {
        PyErr_Format(PyExc_TypeError, "%s: expected %s, found format '%s'", name, type,
                     view->format ? view->format : "B");
        return false;
    }
    return true;
}

static bool frame_is_sound(const struct project_frame *frame)
{
    if (frame->pixels < 1 || frame->pixels > MAX_PIXELS) {
        PyErr_Format(PyExc_ValueError, "pixels: expected 1 to %d, found %d", MAX_PIXELS, (int)frame->pixels);
        return false;
    }
    if (!(frame->bins > 0.0 && frame->bins <= frame->pixels)) {
        PyErr_SetString(PyExc_ValueError, "bins: expected more than 0 and at most `pixels`");
        return false;
    }
    for (int axis = 0; axis < 3; axis++) {
        const double width = frame->high[axis] - frame->low[axis];
        if (!(width > 0.0) || (axis < 2 && !(isfinite(width) && isfinite(frame->bins / width)))) {
            PyErr_Format(PyExc_ValueError, "bounds: expected low < high, finite in x and y; wrong in %c", "xyz"[axis]);
            return false;
        }
    }
    return true;
}

static bool shapes_agree(const Py_buffer *positions, const Py_buffer *weights, const Py_buffer *maps,
                         Py_ssize_t pixels)
{
    if (positions->shape[0] != 3) {
        PyErr_Format(PyExc_ValueError, "positions: expected shape (3, cells), found (%zd, %zd)", positions->shape[0],
                     positions->shape[1]);
        return false;
    }
    if (weights->shape[0] < 1 || weights->shape[0] > MAX_FIELDS || weights->shape[1] != positions->shape[1]) {
        PyErr_Format(PyExc_ValueError, "weights: expected shape (fields, %zd), found (%zd, %zd)", positions->shape[1],
                     weights->shape[0], weights->shape[1]);
        return false;
    }
    if (maps->shape[0] != weights->shape[0] || maps->shape[1] != pixels || maps->shape[2] != pixels) {
        PyErr_Format(PyExc_ValueError, "maps: expected shape (%zd, %zd, %zd), found (%zd, %zd, %zd)",
                     weights->shape[0], pixels, pixels, maps->shape[0], maps->shape[1], maps->shape[2]);
        return false;
    }
    return true;
}

static bool overlap(const Py_buffer *a, const Py_buffer *b)
{
    const char *a0 = a->buf, *b0 = b->buf;
    return a0 < b0 + b->len && b0 < a0 + a->len;
}

/* What is the same for every kernel. */
static bool are_sound(const Py_buffer *positions, const Py_buffer *weights, const Py_buffer *maps,
                      const struct project_frame *frame, int threads)
{
    if (!is_array(positions, "positions", 'f', "float32", 2) || !is_array(weights, "weights", 'f', "float32", 2) ||
        !is_array(maps, "maps", 'd', "float64", 3) || !frame_is_sound(frame) ||
        !shapes_agree(positions, weights, maps, frame->pixels))
        return false;
    if (overlap(maps, positions) || overlap(maps, weights)) {
        PyErr_SetString(PyExc_ValueError, "maps: shares memory with an input");
        return false;
    }
    if (threads < 1 || threads > MAX_THREADS) {
        PyErr_Format(PyExc_ValueError, "threads: expected 1 to %d, found %d", MAX_THREADS, threads);
        return false;
    }
    return true;
}

static PyObject *spread(const Py_buffer *positions, const Py_buffer *support, const Py_buffer *weights,
                        const Py_buffer *maps, const Py_buffer *lost, const struct project_frame *frame, int threads)
{
    struct project_counts counts = {0, 0, 0, 0};
    int status;

    if (!are_sound(positions, weights, maps, frame, threads) || !is_array(support, "support", 'f', "float32", 1) ||
        !is_array(lost, "lost", 'd', "float64", 1))
        return NULL;
    if (support->shape[0] != positions->shape[1] || lost->shape[0] != weights->shape[0]) {
        PyErr_Format(PyExc_ValueError, "support, lost: expected shapes (%zd,) and (%zd,), found (%zd,) and (%zd,)",
                     positions->shape[1], weights->shape[0], support->shape[0], lost->shape[0]);
        return NULL;
    }
    if (overlap(maps, support) || overlap(maps, lost) || overlap(lost, positions) || overlap(lost, support) ||
        overlap(lost, weights)) {
        PyErr_SetString(PyExc_ValueError, "maps, lost: share memory with an input, or with each other");
        return NULL;
    }
    if (frame->high[0] - frame->low[0] != frame->high[1] - frame->low[1]) {
        PyErr_SetString(PyExc_ValueError, "bounds: expected a square");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = smooth(positions->buf, support->buf, weights->buf, positions->shape[1], (int)weights->shape[0], frame,
                    threads, maps->buf, lost->buf, &counts);
    Py_END_ALLOW_THREADS
    if (status != 0)
        return PyErr_NoMemory();
    return Py_BuildValue("(LLLL)", (long long)counts.used, (long long)counts.outside, (long long)counts.bad,
                         (long long)counts.overhanging);
}

static PyObject *draw(const Py_buffer *positions, const Py_buffer *weights, const Py_buffer *maps,
                      const struct project_frame *frame, int threads)
{
    struct project_counts counts = {0, 0, 0, 0};
    int status;

    if (!are_sound(positions, weights, maps, frame, threads))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    status = project(positions->buf, weights->buf, positions->shape[1], (int)weights->shape[0], frame, threads,
                     maps->buf, &counts);
    Py_END_ALLOW_THREADS
    if (status != 0)
        return PyErr_NoMemory();
    return Py_BuildValue("(LLL)", (long long)counts.used, (long long)counts.outside, (long long)counts.bad);
}

PyDoc_STRVAR(project_doc,
             "project(positions, weights, bounds, pixels, bins, threads, maps)\n--\n\n"
             "Sum the weights of cells into maps, and count the cells used, outside and bad.\n\n"
             "positions: float32 (3, cells). weights: float32 (fields, cells). bounds: x0, x1, y0, y1, z0, z1,\n"
             "half open, in the unit of the positions. bins: pixels in use along a side. maps: float64\n"
             "(fields, pixels, pixels), overwritten. All arrays C-contiguous; none is copied.");

static PyObject *kernel_project(PyObject *module, PyObject *arguments)
{
    PyObject *objects[3];
    Py_buffer views[3];
    PyObject *result = NULL;
    struct project_frame frame;
    int threads, held = 0;
    const int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "OO(dddddd)idiO:project", &objects[0], &objects[1], &frame.low[0],
                          &frame.high[0], &frame.low[1], &frame.high[1], &frame.low[2], &frame.high[2],
                          &frame.pixels, &frame.bins, &threads, &objects[2]))
        return NULL;
    while (held < 3 && PyObject_GetBuffer(objects[held], &views[held], flags | (held == 2 ? PyBUF_WRITABLE : 0)) == 0)
        held++;
    if (held == 3)
        result = draw(&views[0], &views[1], &views[2], &frame, threads);
    while (held > 0)
        PyBuffer_Release(&views[--held]);
    return result;
}

PyDoc_STRVAR(smooth_doc,
             "smooth(positions, support, weights, bounds, pixels, threads, maps, lost)\n--\n\n"
             "Spread the weights of cells over maps, and count the cells used, outside, bad and overhanging.\n\n"
             "positions: float32 (3, cells). support: float32 (cells,), the radius of each cell's kernel.\n"
             "weights: float32 (fields, cells). bounds: x0, x1, y0, y1, z0, z1, a square, in the unit of the\n"
             "positions. maps: float64 (fields, pixels, pixels), overwritten. lost: float64 (fields,),\n"
             "overwritten: what used cells have outside the square. All arrays C-contiguous; none is copied.");

static PyObject *kernel_smooth(PyObject *module, PyObject *arguments)
{
    enum { POSITIONS, WEIGHTS, MAPS, SUPPORT, LOST, ARRAYS };
    PyObject *objects[ARRAYS];
    Py_buffer views[ARRAYS];
    PyObject *result = NULL;
    struct project_frame frame;
    int threads, held = 0;
    const int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "OOO(dddddd)iiOO:smooth", &objects[POSITIONS], &objects[SUPPORT],
                          &objects[WEIGHTS], &frame.low[0], &frame.high[0], &frame.low[1], &frame.high[1],
                          &frame.low[2], &frame.high[2], &frame.pixels, &threads, &objects[MAPS], &objects[LOST]))
        return NULL;
    frame.bins = frame.pixels;
    while (held < ARRAYS && PyObject_GetBuffer(objects[held], &views[held],
                                               flags | (held == MAPS || held == LOST ? PyBUF_WRITABLE : 0)) == 0)
        held++;
    if (held == ARRAYS)
        result = spread(&views[POSITIONS], &views[SUPPORT], &views[WEIGHTS], &views[MAPS], &views[LOST], &frame,
                        threads);
    while (held > 0)
        PyBuffer_Release(&views[--held]);
    return result;
}

static PyMethodDef methods[] = {
    {"project", kernel_project, METH_VARARGS, project_doc},
    {"smooth", kernel_smooth, METH_VARARGS, smooth_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_kernel",
    .m_doc = "Gas cells onto maps, in C (native/project.c, native/smooth.c).",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__kernel(void)
{
    return PyModuleDef_Init(&definition);
}
