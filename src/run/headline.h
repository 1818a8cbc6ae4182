/* src/run/headline.h - the one effect by which the rows of a run are compared, and whether a row beats a control.
 * The effect is what the behaviour aims at, measured by the first of these that the run has:
 *     specific effect on the target foundation   where the behaviour names one and the vignettes carry signal
 *     margin of held-out POS over NEG answers    change against the base
 *     score of free answers (dose)               at the calibrated strengths, less the base's
 * Both arms are oriented: a positive value is what was meant, at -alpha too.
 * A row beats a control on an arm when its whole 95% interval lies above the control's. */
#ifndef WS_RUN_HEADLINE_H
#define WS_RUN_HEADLINE_H
#include "base/str.h"
#include "run/results.h"

typedef enum ws_headline { WS_HEADLINE_NONE, WS_HEADLINE_SPECIFIC, WS_HEADLINE_MARGIN, WS_HEADLINE_DOSE } ws_headline;
ws_headline ws_headline_of(const ws_results *r);
const char *ws_headline_title(ws_headline h); /* "margin", for columns */

typedef struct ws_effect { /* NaN: not measured */
    double v, lo, hi;
} ws_effect;
ws_effect ws_headline_effect(ws_headline h, const ws_method_results *m, int minus);
/* Where the effect is measured at other strengths too: its sheet (NULL: the dose), and the effect in one of its rows. */
const ws_sheet *ws_headline_sheet(ws_headline h, const ws_method_results *m);
ws_effect ws_headline_at(ws_headline h, const ws_method_results *m, int row, int minus);

typedef enum ws_beats { WS_BEATS_NO, WS_BEATS_PLUS, WS_BEATS_MINUS, WS_BEATS_BOTH, WS_BEATS_UNKNOWN } ws_beats;
ws_beats ws_headline_beats(ws_headline h, const ws_method_results *m, const ws_method_results *control);
/* How the search for a side's strength ended: "ok", "not_converged", ...; "" when there was none. */
const char *ws_row_status(const ws_results *r, const ws_row_results *row, int minus);
/* Its p95 is more than a tenth from the budget, so the row is not compared. */
int ws_row_off_budget(const ws_results *r, const ws_row_results *row);
/* A row against its control of that kind.  Unknown where either is missing, or off the budget on a side. */
ws_beats ws_row_beats(ws_headline h, const ws_results *r, const ws_row_results *row, const char *kind);
/* The first evaluated row of a kind of control; NULL: none. */
const ws_row_results *ws_results_control(const ws_results *r, const char *kind);
/* The control of that kind that a row is compared with: a vector with the random direction; NULL: none. */
const ws_row_results *ws_results_control_of(const ws_results *r, const ws_row_results *row, const char *kind);
/* Where the canaries say that the model no longer works: "at both", "at +", "at -", "no"; "-": not looked at. */
const char *ws_row_broken(const ws_results *r, const ws_row_results *row);
/* Of a sweep in words: which rows are more than the controls on both sides, which are not, which failed.  Returns how many are. */
int ws_headline_sweep(const ws_results *r, ws_str *out);
const char *ws_beats_name(ws_beats b); /* "no", "at + only", "at - only", "yes", "-" */
#endif
