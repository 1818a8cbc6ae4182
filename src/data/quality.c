#include "data/quality.h"
#include "data/vocab.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FOLDS = 5 };

static const char *answer(const ws_pair *r, int side) { return ws_pair_answer(r, side); }
static int answered(const ws_pair *r, int side) { return *answer(r, side) != 0; }
static const char *persona(const ws_pair *r, int side) { return side ? r->sys_neg : r->sys_pos; }

/* ---------- topics ---------- */

/* Number of each row's topic, 0, 1, ... in order of appearance: its index where the file tells it, else its prompt. */
static int number_topics(const ws_pairs *p, int *topic) {
    ws_vocab v = {0};
    for (int i = 0; i < p->n; i++) {
        char *key = p->row[i].topic >= 0 ? ws_sprintf("#%d", p->row[i].topic) : ws_xstrdup(p->row[i].prompt);
        topic[i] = ws_vocab_add(&v, key);
        free(key);
    }
    int n = v.n;
    ws_vocab_free(&v);
    return n;
}

static int count_personas(const ws_pairs *p) {
    ws_vocab v = {0};
    for (int i = 0; i < p->n; i++) {
        if (!p->row[i].sys_pos && p->row[i].persona < 0) continue;
        char *key = p->row[i].persona >= 0 ? ws_sprintf("#%d", p->row[i].persona) : ws_xstrdup(p->row[i].sys_pos);
        ws_vocab_add(&v, key);
        free(key);
    }
    int n = v.n;
    ws_vocab_free(&v);
    return n;
}

/* ---------- length, repetition, counters ---------- */

static int count_words(const char *text) {
    ws_str w = {0};
    size_t at = 0;
    int n = 0;
    while (ws_word_next(text, &at, &w)) n++;
    ws_str_free(&w);
    return n;
}

static ws_status describe(ws_side_quality *s, const ws_pairs *p, int side, const ws_behavior *b, ws_err *err) {
    ws_vocab seen = {0};
    double tokens = 0, words = 0, cut = 0, sum = 0, sq = 0, closed = 0, thought = 0;
    int told = 1, blocks = 0;
    ws_status st = WS_OK;
    for (int i = 0; i < p->n && !st; i++) {
        const ws_pair *r = &p->row[i];
        int t = side ? r->tokens_neg : r->tokens_pos;
        double score = 0;
        told &= t >= 0;
        tokens += t;
        cut += side ? r->cut_neg : r->cut_pos;
        if (r->answer[side]) blocks++, closed += r->closed[side], thought += count_words(r->reasoning[side]);
        if (!answered(r, side)) continue;
        s->answers++;
        words += count_words(answer(r, side));
        ws_vocab_add(&seen, answer(r, side));
        if (b && b->n_counters) st = ws_behavior_score(b, answer(r, side), strlen(answer(r, side)), &score, err);
        sum += score;
        sq += score * score;
    }
    double n = s->answers, mean = n > 0 ? sum / n : NAN;
    s->cut = told ? cut / p->n : NAN;
    s->tokens = told ? tokens / p->n : NAN;
    s->words = n > 0 ? words / n : NAN;
    s->closed = blocks ? closed / blocks : NAN;
    s->thought = blocks ? thought / blocks : NAN;
    s->distinct = seen.n;
    s->score = b && b->n_counters ? mean : NAN;
    s->score_se = b && b->n_counters && n > 1 ? sqrt(fmax(sq / n - mean * mean, 0) / (n - 1)) : NAN;
    ws_vocab_free(&seen);
    return st;
}

/* ---------- persona words in the answers ---------- */

/* Words of four letters and more that say nothing about a persona. */
static int is_common(const char *w) {
    static const char *const common[] = {
        "about",   "above",   "after",      "again",    "also",    "always", "answer", "answers", "because",  "been",
        "before",  "being",   "both",       "could",    "does",    "doing",  "down",   "during",  "each",     "even",
        "ever",    "every",   "everything", "feel",     "feels",   "find",   "finds",  "from",    "give",     "gives",
        "have",    "having",  "here",       "himself",  "into",    "itself", "just",   "keep",    "kind",     "like",
        "make",    "makes",   "many",       "more",     "most",    "much",   "must",   "need",    "never",    "nothing",
        "only",    "other",   "over",       "people",   "person",  "same",   "says",   "sees",    "sentence", "should",
        "some",    "someone", "something",  "spirit",   "stay",    "such",   "take",   "takes",   "than",     "that",
        "their",   "them",    "themselves", "then",     "there",   "these",  "they",   "thing",   "things",   "think",
        "thinks",  "this",    "those",      "through",  "under",   "until",  "very",   "want",    "wants",    "well",
        "were",    "what",    "when",       "where",    "whether", "which",  "while",  "will",    "with",     "within",
        "without", "would",   "your",       "yourself", NULL};
    for (int i = 0; common[i]; i++)
        if (!strcmp(w, common[i])) return 1;
    return 0;
}

static void content_words(ws_vocab *v, const char *text, const ws_vocab *but_not) {
    ws_str w = {0};
    size_t at = 0;
    while (text && ws_word_next(text, &at, &w))
        if (w.n >= 4 && !is_common(w.p) && !(but_not && ws_vocab_find(but_not, w.p) >= 0)) ws_vocab_add(v, w.p);
    ws_str_free(&w);
}

/* 1 when the text has one of the words; counts each of them once in `rows` (by number in `all`). */
static int has_any(const char *text, const ws_vocab *words, const ws_vocab *all, int *rows) {
    ws_vocab seen = {0};
    ws_str w = {0};
    size_t at = 0;
    int any = 0;
    while (ws_word_next(text, &at, &w)) {
        if (ws_vocab_find(words, w.p) < 0) continue;
        any = 1;
        int before = seen.n, k = all ? ws_vocab_find(all, w.p) : -1;
        ws_vocab_add(&seen, w.p);
        if (k >= 0 && seen.n > before) rows[k]++;
    }
    ws_str_free(&w);
    ws_vocab_free(&seen);
    return any;
}

static void leaks(ws_pairs_quality *q, const ws_pairs *p) {
    ws_vocab all = {0};
    double own[2] = {0}, other[2] = {0}, told[2] = {0};
    for (int i = 0; i < p->n; i++)
        for (int s = 0; s < 2; s++) content_words(&all, persona(&p->row[i], s), NULL);
    int *rows = ws_xcalloc((size_t)all.n + 1, sizeof *rows);
    for (int i = 0; i < p->n; i++) {
        const ws_pair *r = &p->row[i];
        if (!r->sys_pos || !r->sys_neg) continue;
        for (int s = 0; s < 2; s++) {
            if (!answered(r, s)) continue;
            told[s]++;
            ws_vocab not = {0}, mine = {0},
                     theirs = {0}; /* words of one persona that stand neither in the other nor in the prompt */
            content_words(&not, persona(r, !s), NULL);
            content_words(&not, r->prompt, NULL);
            content_words(&mine, persona(r, s), &not );
            ws_vocab_free(&not );
            content_words(&not, persona(r, s), NULL);
            content_words(&not, r->prompt, NULL);
            content_words(&theirs, persona(r, !s), &not );
            own[s] += has_any(answer(r, s), &mine, &all, rows);
            other[s] += has_any(answer(r, s), &theirs, NULL, NULL);
            ws_vocab_free(&not );
            ws_vocab_free(&mine);
            ws_vocab_free(&theirs);
        }
    }
    for (int s = 0; s < 2; s++) {
        q->side[s].leak = told[s] > 0 ? own[s] / told[s] : NAN;
        q->side[s].leak_other = told[s] > 0 ? other[s] / told[s] : NAN;
    }
    while (q->n_leaked < WS_LEAK_WORDS) {
        int best = -1;
        for (int k = 0; k < all.n; k++)
            if (rows[k] > 0 && (best < 0 || rows[k] > rows[best])) best = k;
        if (best < 0) break;
        q->leaked[q->n_leaked] = ws_xstrdup(all.word[best]);
        q->leaked_rows[q->n_leaked++] = rows[best];
        rows[best] = 0;
    }
    free(rows);
    ws_vocab_free(&all);
}

/* ---------- telling the sides apart by words alone ---------- */

typedef struct bag {
    int n, *word; /* every word of the answer, by number */
} bag;

static bag bag_of(ws_vocab *v, const char *text) {
    bag b = {0, NULL};
    ws_str w = {0};
    size_t at = 0;
    int cap = 0;
    while (ws_word_next(text, &at, &w)) {
        if (b.n == cap) b.word = ws_xrealloc(b.word, (size_t)(cap = cap * 2 + 32) * sizeof *b.word);
        b.word[b.n++] = ws_vocab_add(v, w.p);
    }
    ws_str_free(&w);
    return b;
}

/* log P(words | POS) - log P(words | NEG); words that were never seen in training say nothing. */
static double log_odds(const bag *b, const double *const *count, const double total[2], double types) {
    double s = 0;
    for (int k = 0; k < b->n; k++) {
        double pos = count[0][b->word[k]], neg = count[1][b->word[k]];
        if (pos + neg > 0) s += log((pos + 1) / (total[0] + types)) - log((neg + 1) / (total[1] + types));
    }
    return s;
}

/* Multinomial naive Bayes; fold f tests the topics whose number is f modulo the number of folds. */
static void classify(ws_pairs_quality *q, const ws_pairs *p, const int *topic) {
    q->folds = q->topics < FOLDS ? q->topics : FOLDS;
    q->accuracy = q->accuracy_se = NAN;
    if (q->folds < 2 || !q->side[0].answers || !q->side[1].answers) return;
    ws_vocab v = {0};
    bag *bags = ws_xmalloc((size_t)p->n * 2 * sizeof *bags);
    for (int i = 0; i < 2 * p->n; i++) bags[i] = bag_of(&v, answer(&p->row[i / 2], i % 2));
    double *count[2], *right = ws_xcalloc((size_t)q->topics, sizeof *right),
                      *tested = ws_xcalloc((size_t)q->topics, sizeof *tested);
    for (int s = 0; s < 2; s++) count[s] = ws_xmalloc(((size_t)v.n + 1) * sizeof **count);
    for (int f = 0; f < q->folds; f++) {
        double total[2] = {0}, types = 0;
        for (int s = 0; s < 2; s++) memset(count[s], 0, (size_t)v.n * sizeof **count);
        for (int i = 0; i < 2 * p->n; i++) {
            if (topic[i / 2] % q->folds == f) continue;
            for (int k = 0; k < bags[i].n; k++) count[i % 2][bags[i].word[k]]++;
            total[i % 2] += bags[i].n;
        }
        for (int k = 0; k < v.n; k++) types += count[0][k] + count[1][k] > 0;
        for (int i = 0; i < 2 * p->n; i++) {
            if (topic[i / 2] % q->folds != f || !answered(&p->row[i / 2], i % 2)) continue;
            double s = log_odds(&bags[i], (const double *const *)count, total, types);
            right[topic[i / 2]] += s == 0 ? 0.5 : (s > 0) == (i % 2 == 0);
            tested[topic[i / 2]]++;
        }
    }
    double sum = 0, var = 0, n = 0;
    for (int t = 0; t < q->topics; t++) sum += right[t], n += tested[t];
    q->accuracy = n > 0 ? sum / n : NAN;
    for (int t = 0; t < q->topics; t++)
        var += pow(right[t] - q->accuracy * tested[t], 2); /* answers of a topic hang together */
    q->accuracy_se = n > 0 ? sqrt(var * q->topics / (q->topics - 1.0)) / n : NAN;
    for (int i = 0; i < 2 * p->n; i++) free(bags[i].word);
    free(bags);
    free(right);
    free(tested);
    free(count[0]);
    free(count[1]);
    ws_vocab_free(&v);
}

/* ---------- all of it ---------- */

ws_status ws_pairs_quality_of(ws_pairs_quality *q, const ws_pairs *p, const ws_behavior *b, ws_err *err) {
    memset(q, 0, sizeof *q);
    WS_ASSERT(p->n > 0);
    int *topic = ws_xmalloc((size_t)p->n * sizeof *topic);
    q->n = p->n;
    q->topics = number_topics(p, topic);
    q->personas = count_personas(p);
    for (int i = 0; i < p->n; i++) q->identical += !strcmp(p->row[i].pos, p->row[i].neg);
    ws_status st = describe(&q->side[0], p, 0, b, err);
    if (!st) st = describe(&q->side[1], p, 1, b, err);
    if (!st) leaks(q, p);
    if (!st) classify(q, p, topic);
    free(topic);
    return st;
}

void ws_pairs_quality_free(ws_pairs_quality *q) {
    for (int i = 0; i < q->n_leaked; i++) free(q->leaked[i]);
    memset(q, 0, sizeof *q);
}

static json_t *number(double v) { return isnan(v) ? json_null() : json_real(v); }

json_t *ws_pairs_quality_json(const ws_pairs_quality *q) {
    json_t *o = json_pack("{s:i,s:i,s:i,s:i}", "rows", q->n, "topics", q->topics, "personas", q->personas, "identical",
                          q->identical);
    for (int s = 0; s < 2; s++) {
        const ws_side_quality *a = &q->side[s];
        json_object_set_new(o, s ? "neg" : "pos",
                            json_pack("{s:o,s:o,s:o,s:o,s:o,s:i,s:i,s:o,s:o,s:o,s:o}", "cut_share", number(a->cut),
                                      "closed_share", number(a->closed), "mean_tokens", number(a->tokens), "mean_words",
                                      number(a->words), "mean_reasoning_words", number(a->thought), "answers",
                                      a->answers, "distinct", a->distinct, "persona_leak", number(a->leak),
                                      "persona_leak_other", number(a->leak_other), "score", number(a->score),
                                      "score_se", number(a->score_se)));
    }
    json_t *words = json_array();
    for (int i = 0; i < q->n_leaked; i++)
        json_array_append_new(words, json_pack("{s:s,s:i}", "word", q->leaked[i], "answers", q->leaked_rows[i]));
    json_object_set_new(o, "leaked_words", words);
    json_object_set_new(
        o, "bag_of_words",
        json_pack("{s:o,s:o,s:i}", "accuracy", number(q->accuracy), "se", number(q->accuracy_se), "folds", q->folds));
    return o;
}

static void line(ws_str *out, const char *name, const char *fmt, double pos, double neg) {
    char a[32] = "-", b[32] = "-";
    if (!isnan(pos)) snprintf(a, sizeof a, fmt, pos);
    if (!isnan(neg)) snprintf(b, sizeof b, fmt, neg);
    ws_str_addf(out, "  %-34s %10s %10s\n", name, a, b);
}

void ws_pairs_quality_print(const ws_pairs_quality *q, ws_str *out) {
    const ws_side_quality *a = &q->side[0], *b = &q->side[1];
    ws_str_addf(out, "%d pairs on %d topics", q->n, q->topics);
    if (q->personas) ws_str_addf(out, " with %d personas", q->personas);
    ws_str_addf(out, "; %d with both answers the same\n", q->identical);
    ws_str_addf(out, "  %-34s %10s %10s\n", "", "POS", "NEG");
    int thinks = !isnan(a->closed) || !isnan(b->closed);
    line(out, thinks ? "responses cut by length, %" : "answers cut by length, %", "%.1f", 100 * a->cut, 100 * b->cut);
    line(out, "mean length, tokens", "%.1f", a->tokens, b->tokens);
    if (thinks) {
        line(out, "think blocks that were closed, %", "%.1f", 100 * a->closed, 100 * b->closed);
        line(out, "mean reasoning, words", "%.1f", a->thought, b->thought);
        ws_str_adds(out, "  below: the answers alone, without the reasoning before them\n");
        line(out, "responses with an answer", "%.0f", a->answers, b->answers);
    }
    line(out, "mean length, words", "%.1f", a->words, b->words);
    line(out, "distinct answers", "%.0f", a->distinct, b->distinct);
    line(out, "with words of the own persona, %", "%.1f", 100 * a->leak, 100 * b->leak);
    line(out, "with words of the other's, %", "%.1f", 100 * a->leak_other, 100 * b->leak_other);
    line(out, "counter score per answer", "%+.2f", a->score, b->score);
    line(out, "  standard error", "%.2f", a->score_se, b->score_se);
    for (int i = 0; i < q->n_leaked; i++)
        ws_str_addf(out, "%s%s %d", i ? ", " : "  persona words in most answers: ", q->leaked[i], q->leaked_rows[i]);
    if (q->n_leaked) ws_str_addc(out, '\n');
    if (isnan(q->accuracy) && (!a->answers || !b->answers))
        ws_str_adds(out, "  no answer on one side: nothing to test whether words tell the sides apart\n");
    else if (isnan(q->accuracy))
        ws_str_adds(out, "  one topic alone: no words are left out to test whether words tell the sides apart\n");
    else
        ws_str_addf(out,
                    "  words alone tell POS from NEG on unseen topics: %.1f %% +- %.1f (naive Bayes, %d folds; 50 %% "
                    "is chance)\n",
                    100 * q->accuracy, 100 * q->accuracy_se, q->folds);
    double ratio = a->words > b->words ? a->words / fmax(b->words, 1) : b->words / fmax(a->words, 1);
    if (isfinite(a->words + b->words) && ratio > 1.25)
        ws_str_addf(out, "  note: %s answers are %.0f %% longer; length will be learned with the behaviour\n",
                    a->words > b->words ? "POS" : "NEG", 100 * (ratio - 1));
    if (fmin(a->closed, b->closed) < 0.9)
        ws_str_adds(out,
                    "  note: think blocks were cut before they were closed: these responses have no answer, and are "
                    "trained on as they stand; raise --max-new-tokens\n");
    if (fabs(a->cut - b->cut) > 0.2)
        ws_str_adds(out, "  note: one side is cut by length much more often than the other\n");
    if (q->accuracy < 0.6) ws_str_adds(out, "  note: the two sides hardly differ in their words; expect a weak dW\n");
    if (fmax(a->leak - a->leak_other, b->leak - b->leak_other) > 0.5)
        ws_str_adds(out, "  note: more than half of the answers repeat their persona; the dW may learn those words\n");
}
