/* src/run/plots.h - the pictures of one run, as descriptions for report/plot: dose response, margin, dlogit by
 * foundation, calibration curve, training loss. */
#ifndef WS_RUN_PLOTS_H
#define WS_RUN_PLOTS_H
#include "report/plot.h"
#include "run/results.h"

typedef struct ws_picture {
    const char *name; /* of its files: "dose" */
    const char *alt;  /* one sentence for those who cannot see it */
    ws_plot plot;
    void *memory; /* all that the description points to */
} ws_picture;
typedef struct ws_pictures {
    int n;
    ws_picture *p;
} ws_pictures;
/* Those for which the run has figures. */
ws_pictures ws_pictures_build(const ws_results *r);
void ws_pictures_free(ws_pictures *p);
#endif
