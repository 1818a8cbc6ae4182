/* src/adapter/room.h - what a room (one file, one adapter) gives to the corridor, and what it gets from it.
 *     ws_adapter -> sites [n_sites] -> tensors [n_p], views into `values` / `grads` (trained) or `fixed` (stored only)
 * A room describes its tensors and its arithmetic for ONE linear; targeting, memory, files and the patch are shared. */
#ifndef WS_ADAPTER_ROOM_H
#define WS_ADAPTER_ROOM_H
#include "adapter/adapter.h"
#include "base/regex.h"
#include <jansson.h>

enum { WS_ADAPTER_MAX_TENSORS = 4 };

/* One adapted linear. */
typedef struct ws_adapted {
    int site; /* model site number */
    const ws_site *at;
    int rank;
    double alpha;
    float scale;               /* alpha / rank, or alpha / sqrt(rank) with rslora */
    int block, factors, terms; /* OFT, BOFT: size of a parameter's block, butterfly factors, terms of the series */
    int shared;                /* OFT: one block for all */
    double bound;              /* OFT: largest norm of a block's parameters, 0: none */
    int on_input;              /* IA3: scales x, not y */
    ws_param *p;               /* [n_p], in the order of the room's tensors() */
    int n_p;
    float *
        derived; /* [derived_floats()], 64-byte aligned: what depends on base and parameters alone, made by prepare() and
                       renewed by refresh() */
    float *sums; /* [sum_floats()], 64-byte aligned: gradients of derived quantities, added up over the micro-batches of
                       a step; zeroed with the gradients, used up by finish_grad() */
} ws_adapted;

typedef struct ws_tensor_spec {
    const char *suffix; /* "lora_A.weight" */
    int dims;
    int64_t dim[4]; /* shape in the file; rows x cols in memory is dim[0] x the product of the rest */
    int trained;    /* 0: stored in the file, not trained (a buffer) */
} ws_tensor_spec;

enum { WS_NO_LAYERS, WS_LAYERS, WS_LAYERS_OF_LIST };
/* Which modules a configuration adapts (adapters.md 1.2). */
typedef struct ws_target {
    char **name; /* list entries, exact or suffix */
    int n;
    ws_regex *regex; /* instead of the list */
    char **exclude;
    int n_exclude;
    ws_regex *exclude_regex;
    int *layer; /* layers_to_transform; NULL: every layer */
    int n_layers;
    ws_regex **pattern; /* layers_pattern; NULL: the default pattern */
    int n_patterns;
    int all_linear; /* "all-linear" */
} ws_target;
ws_status ws_target_read(ws_target *t, const json_t *config, int honours_layers, const char *where, ws_err *err);
/* 1 the module `name` is adapted, 0 not, -1 error. */
int ws_target_match(const ws_target *t, const char *name, ws_err *err);
void ws_target_release(ws_target *t);
/* rank_pattern / alpha_pattern: the value of the first pattern P with (.*\.)?(P)$ on `name`, or `dflt`. */
ws_status ws_target_pattern(const json_t *patterns, const char *name, double dflt, double *out, const char *where,
                            ws_err *err);

struct ws_adapter_ops {
    const char *name;      /* "lora" */
    const char *peft_type; /* "LORA" */
    const char *targets;   /* default list, comma-separated */
    /* What layers_to_transform does: WS_NO_LAYERS it does not exist (IA3), WS_LAYERS it filters a list of targets and is
     * refused beside a pattern, WS_LAYERS_OF_LIST it filters a list and does nothing beside a pattern (OFT, BOFT). */
    int honours_layers;
    const char *config; /* every key of adapter_config.json with its value in our files, as JSON; also the known keys */
    /* Where ws_adapter_config's rank, alpha, block and lambda go ("r", "lora_alpha", "oft_block_size", "delora_lambda");
     * NULL: nowhere. */
    const char *rank_key, *alpha_key, *block_key, *lambda_key;
    /* 1: a PEFT configuration with our peft_type is this room's (LoRA, DoRA and PiSSA share one peft_type). */
    int (*claims)(const json_t *config);
    /* Refuses, by key name, what would change the meaning; warns about what is only ignored. */
    ws_status (*check)(const json_t *config, const char *where, ws_err *err);
    /* Last touches to a fresh configuration, when its targets are known.  NULL: none. */
    void (*configure)(json_t *config);
    /* What the tensors of a PEFT directory say about `config`, which may be changed with a warning.  NULL: nothing. */
    ws_status (*adopt)(json_t *config, const ws_safetensors *tensors, const char *where, ws_err *err);
    /* Rank, alpha and scale of one site from the configuration. */
    ws_status (*site)(ws_adapted *s, const json_t *config, const char *key, const char *where, ws_err *err);
    int (*tensors)(const ws_adapted *s, ws_tensor_spec spec[WS_ADAPTER_MAX_TENSORS]);
    int64_t (*derived_floats)(const ws_adapted *s); /* NULL: none */
    int64_t (*sum_floats)(const ws_adapted *s);     /* NULL: none */
    /* What the base weight alone decides (norms, singular vectors), once, before init() or the files' values; sites run in
     * parallel.  NULL: nothing. */
    ws_status (*prepare)(ws_adapted *s, ws_err *err);
    void (*init)(ws_adapted *s, ws_mt *r); /* fp32 values; the corridor rounds them for a 16-bit base */
    /* After that rounding: values that depend on it (DoRA's magnitude); they are rounded once more.  NULL: none. */
    void (*init_after)(ws_adapted *s);
    void (*refresh)(ws_adapted *s);     /* NULL: nothing derived */
    void (*finish_grad)(ws_adapted *s); /* NULL: gradients are complete as accumulated */
    int64_t (*saved_floats)(const ws_adapted *s, int64_t n);
    /* The calls of model/patch.h that the room takes part in; NULL where it does not. */
    void (*input)(const ws_adapted *s, const ws_patch_call *c, float *x);
    void (*product)(const ws_adapted *s, const ws_patch_call *c);
    void (*forward)(const ws_adapted *s, const ws_patch_call *c);
    void (*beside)(const ws_adapted *s, const ws_patch_call *c, ws_beside *out);
    void (*beside_gx)(const ws_adapted *s, const ws_patch_grad *g, ws_beside *out);
    void (*backward_gy)(const ws_adapted *s, const ws_patch_grad *g); /* NULL: the raw gy serves */
    void (*backward)(const ws_adapted *s, const ws_patch_grad *g);
    int (*needs_gx)(const ws_adapted *s);                              /* NULL: no */
    ws_status (*edit)(const ws_adapted *s, ws_edit *out, ws_err *err); /* theta - base */
    /* theta - something that is the same for both sides of a contrast at a site that both adapt with one rank, where that is
     * simpler (PiSSA: s B A, without the residual); NULL: edit. */
    ws_status (*contrast_edit)(const ws_adapted *s, ws_edit *out, ws_err *err);
    int merge_rounds; /* 1: PEFT's merge rounds theta - base to the base's type before it adds it */
};

struct ws_adapter {
    ws_patch patch; /* first: the adapter is a patch */
    ws_patch_ops patch_ops;
    const ws_adapter_ops *ops;
    const ws_model *model;
    json_t *config;                          /* complete adapter_config.json */
    char *(*name_of)(const char *site_name); /* NULL, or the names in the files this adapter came from */
    int n_sites, n_params;
    ws_adapted *site;
    int *at_site; /* [model sites] -> index into site, -1: not adapted */
    ws_param *param;
    int64_t size, n_fixed, n_derived, n_sums;
    float *values, *grads, *fixed, *derived, *sums;
};

extern const ws_adapter_ops *const ws_adapter_rooms[]; /* NULL-terminated */
/* Matches modules, gives every site its memory; values are zero.  `config` is complete and stolen (also on failure);
 * `name_of` maps a site's name to the module name in the adapter's files (fresh memory; NULL: the same). */
ws_status ws_adapter_build(ws_adapter **out, const ws_model *m, const ws_adapter_ops *ops, json_t *config,
                           char *(*name_of)(const char *site_name), const char *where, ws_err *err);
/* The same, and `check` looks at the sites before anything of their size is allocated or computed. */
typedef ws_status (*ws_adapter_check_fn)(const ws_adapter *a, const void *arg, ws_err *err);
ws_status ws_adapter_build_checked(ws_adapter **out, const ws_model *m, const ws_adapter_ops *ops, json_t *config,
                                   char *(*name_of)(const char *site_name), ws_adapter_check_fn check, const void *arg,
                                   const char *where, ws_err *err);
#endif
