/* The C ABI between the addon and its backends (CPU: linked in; CUDA: a shared library loaded at
 * run time).
 *
 * A backend knows devices, buffers and programs. A program is compiled from a plan: values (shape,
 * dtype, where they live), nodes (an op's name, its operands and attributes by name) and one arena
 * whose layout was planned beforehand. Calls on one device are made by one thread, the device's
 * worker, except those marked "any thread". Functions that can fail return 0 on success; otherwise
 * they fill `hrsam_error`, whose code is one of lib/errors.ts. */
#ifndef HRSAM_BACKEND_H_
#define HRSAM_BACKEND_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HRSAM_ABI_VERSION 2
#define HRSAM_MAX_RANK 6

typedef enum { HRSAM_F32 = 0, HRSAM_BF16 = 1, HRSAM_I32 = 2, HRSAM_U8 = 3 } hrsam_dtype;

typedef struct {
  char code[32];
  char message[992];
} hrsam_error;

typedef struct hrsam_device hrsam_device;
typedef struct hrsam_buffer hrsam_buffer;
typedef struct hrsam_program hrsam_program;
typedef struct hrsam_run hrsam_run;

/* Where a value lives. FOLDED: computed once when the program is compiled, kept with it. */
typedef enum {
  HRSAM_INPUT = 0,
  HRSAM_CONSTANT = 1,
  HRSAM_FOLDED = 2,
  HRSAM_ARENA = 3,
  HRSAM_OUTPUT = 4
} hrsam_storage;

typedef struct {
  int32_t dtype; /* hrsam_dtype */
  int32_t rank;
  int64_t dims[HRSAM_MAX_RANK];
  int32_t storage; /* hrsam_storage */
  int32_t
      slot; /* INPUT/OUTPUT: position in the run's list; CONSTANT: position in the plan's buffers */
  uint64_t offset; /* bytes into the arena or the constant's buffer */
} hrsam_value;

typedef struct {
  const char* name;
  int32_t value; /* index into the plan's values */
} hrsam_operand;

typedef struct {
  const char* name;
  int32_t count;
  const double* values;
} hrsam_attribute;

typedef struct {
  const char* op;
  const char* layer; /* for error messages, e.g. "backbone.blocks.3.attn" */
  int32_t operand_count;
  const hrsam_operand* operands; /* absent optional operands are not listed */
  int32_t attribute_count;
  const hrsam_attribute* attributes;
  int32_t result; /* index into the plan's values */
} hrsam_node;

typedef struct {
  int32_t value_count;
  const hrsam_value* values;
  int32_t node_count;
  const hrsam_node* nodes; /* in execution order */
  int32_t buffer_count;
  hrsam_buffer* const* buffers; /* constants; the caller keeps them alive as long as the program */
  uint64_t arena_bytes;
  int32_t input_count;
  int32_t output_count;
} hrsam_plan;

typedef struct {
  char name[128];
  char detail[512]; /* instruction sets, driver … for people */
  uint64_t memory_bytes;
  int32_t threads; /* CPU worker threads; 0 elsewhere */
} hrsam_device_info;

typedef struct {
  uint64_t buffer_bytes; /* live buffers */
  uint64_t packed_bytes; /* weights in kernel order */
  uint64_t cached_bytes; /* arenas kept for the next run */
  uint64_t peak_bytes;   /* largest sum of what is in use so far */
} hrsam_memory_info;

/* A binary mask in few numbers. Positions count down the columns, as COCO's run lengths do:
 * x * height + y. */
typedef struct {
  int64_t area;
  int32_t box[4]; /* smallest and largest column and row that are set: x0, y0, x1, y1; or zeros */
  const uint32_t*
      begins; /* where runs of equal pixels begin, ascending; an unset pixel at 0 is none */
  uint32_t begin_count;
} hrsam_mask;
typedef void (*hrsam_take_mask)(void* context, const hrsam_mask* mask);

typedef struct hrsam_backend {
  uint32_t abi_version;
  const char* name; /* "cpu", "cuda" */

  int32_t (*device_count)(hrsam_error* error); /* any thread; -1 on error */
  int (*device_info)(int32_t ordinal, hrsam_device_info* info, hrsam_error* error); /* any thread */
  int (*device_open)(int32_t ordinal, hrsam_device** device, hrsam_error* error);
  void (*device_close)(hrsam_device* device);
  int (*device_set_threads)(hrsam_device* device, int32_t threads, hrsam_error* error);
  void (*device_memory)(hrsam_device* device, hrsam_memory_info* info); /* any thread */
  void (*device_trim)(hrsam_device* device);
  /* The arithmetic ceiling as measured now, in GFLOP/s: register-resident multiply-adds of that
   * type on all threads. */
  int (*device_peak)(hrsam_device* device, int32_t dtype, double* gflops, hrsam_error* error);

  /* any thread: buffers */
  int (*buffer_create)(hrsam_device* device, uint64_t bytes, hrsam_buffer** buffer,
                       hrsam_error* error);
  /* Takes memory that outlives the buffer (a mapped file). The CPU backend reads it in place;
   * others copy it. */
  int (*buffer_wrap)(hrsam_device* device, const void* data, uint64_t bytes, hrsam_buffer** buffer,
                     hrsam_error* error);
  void (*buffer_destroy)(hrsam_buffer* buffer);
  void* (*buffer_host)(
      hrsam_buffer* buffer); /* the memory itself where the host can read it, else NULL */
  int (*buffer_write)(hrsam_buffer* buffer, uint64_t offset, const void* source, uint64_t bytes,
                      hrsam_error* error);
  int (*buffer_read)(hrsam_buffer* buffer, uint64_t offset, void* destination, uint64_t bytes,
                     hrsam_error* error);

  int (*program_create)(hrsam_device* device, const hrsam_plan* plan, hrsam_program** program,
                        hrsam_error* error);
  void (*program_destroy)(hrsam_program* program); /* any thread */

  /* A run advances by steps so that the worker may let a short run pass a long one. */
  int (*run_create)(hrsam_program* program, hrsam_buffer* const* inputs,
                    hrsam_buffer* const* outputs, hrsam_run** run, hrsam_error* error);
  /* Returns 1 while steps remain, 0 when done, -1 on error. */
  int (*run_step)(hrsam_run* run, hrsam_error* error);
  void (*run_destroy)(hrsam_run* run);

  /* Binary masks, u8 (count, height, width), not 0 where set, height * width below 2^32: calls
   * `take` for each in order; what it gets is valid during the call. NULL where buffer_host gives
   * the memory itself. */
  int (*mask_runs)(hrsam_buffer* masks, int64_t count, int64_t height, int64_t width,
                   hrsam_take_mask take, void* context, hrsam_error* error);
} hrsam_backend;

/* The one symbol of a backend library. */
typedef const hrsam_backend* (*hrsam_backend_entry_fn)(void);
#define HRSAM_BACKEND_ENTRY "hrsam_backend_entry"

#ifdef __cplusplus
}
#endif

#endif /* HRSAM_BACKEND_H_ */
