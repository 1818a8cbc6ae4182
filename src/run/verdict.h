/* src/run/verdict.h - did steering have an effect, by a rule fixed beforehand; and what the run does not show. */
#ifndef WS_RUN_VERDICT_H
#define WS_RUN_VERDICT_H
#include "base/str.h"
#include "run/results.h"

typedef struct ws_verdict {
    int works;      /* margin separated on both sides and dose monotone */
    int margin_pos; /* the 95% interval of the paired change at +alpha lies above 0 */
    int margin_neg; /* ... at -alpha below 0 */
    int monotone;   /* mean scores never fall from -alpha to +alpha, and the two ends' intervals do not touch */
    int has_margin, has_dose;
} ws_verdict;
ws_verdict ws_verdict_of(const ws_method_results *m);
/* "steering works: ..." or "no effect shown: ...", one line without its end. */
void ws_verdict_line(const ws_method_results *m, ws_str *out);
/* One paragraph for people: what this model shows and what it does not, computed from the results alone. */
void ws_verdict_honest(const ws_results *r, const ws_method_results *m, ws_str *out);
#endif
