#include "run/samples.h"
#include "base/rng.h"
#include "report/columns.h"
#include "report/html.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const ws_answer *find(const ws_method_results *m, int topic, double dose) {
    const ws_answer *best = NULL;
    for (int i = 0; i < m->n_samples; i++) {
        const ws_answer *s = &m->sample[i];
        if (s->topic == topic && s->dose == dose && (!best || s->sample < best->sample)) best = s;
    }
    return best;
}

int ws_triples_choose(const ws_method_results *m, uint64_t seed, int most, ws_triple *out) {
    int topics = 0, n = 0;
    for (int i = 0; i < m->n_samples; i++)
        if (m->sample[i].topic >= topics) topics = m->sample[i].topic + 1;
    int64_t *order = ws_xcalloc((size_t)topics + 1, sizeof *order);
    ws_counter_permutation(order, topics, seed, "report.samples");
    for (int i = 0; i < topics && n < most; i++) {
        static const double dose[3] = {-1, 0, 1};
        ws_triple *t = &out[n];
        int have = 0;
        for (int k = 0; k < 3; k++) {
            const ws_answer *s = find(m, (int)order[i], dose[k]);
            if (!s) break;
            t->prompt = s->prompt, t->text[k] = s->text, t->alpha[k] = s->alpha;
            have++;
        }
        n += have == 3;
    }
    free(order);
    return n;
}

static void headings(const ws_triple *t, char head[3][48], const char *h[3]) {
    for (int k = 0; k < 3; k++) {
        if (t->alpha[k] == 0)
            snprintf(head[k], sizeof head[k], "alpha = 0 (base)");
        else
            snprintf(head[k], sizeof head[k], "alpha = %+.3g", t->alpha[k]);
        h[k] = head[k];
    }
}

void ws_triples_print(const ws_triple *t, int n, int width, ws_str *out) {
    for (int i = 0; i < n; i++) {
        char head[3][48];
        const char *h[3];
        headings(&t[i], head, h);
        ws_str_addf(out, "%s> ", i ? "\n" : "");
        ws_wrap(out, t[i].prompt, width, 0);
        ws_str_addc(out, '\n');
        ws_columns_print(out, h, t[i].text, 3, width);
    }
}

/* Text of a model inside a Markdown table cell: nothing in it is markup. */
static void cell(ws_str *out, const char *s) {
    for (; *s; s++) {
        if (*s == '\n') {
            ws_str_adds(out, "<br>");
            continue;
        }
        if (*s == '<')
            ws_str_adds(out, "&lt;");
        else if (*s == '&')
            ws_str_adds(out, "&amp;");
        else {
            if (strchr("|\\`*_[]#~$", *s)) ws_str_addc(out, '\\');
            ws_str_addc(out, *s == '\r' || *s == '\t' ? ' ' : *s);
        }
    }
}

void ws_triples_markdown(const ws_triple *t, int n, ws_str *out) {
    for (int i = 0; i < n; i++) {
        char head[3][48];
        const char *h[3];
        headings(&t[i], head, h);
        ws_str_adds(out, i ? "\n**" : "**");
        cell(out, t[i].prompt);
        ws_str_addf(out, "**\n\n| %s | %s | %s |\n| --- | --- | --- |\n|", h[0], h[1], h[2]);
        for (int k = 0; k < 3; k++) {
            ws_str_addc(out, ' ');
            cell(out, t[i].text[k]);
            ws_str_adds(out, " |");
        }
        ws_str_addc(out, '\n');
    }
}

void ws_triples_html(const ws_triple *t, int n, ws_str *out) {
    for (int i = 0; i < n; i++) {
        char head[3][48];
        const char *h[3];
        headings(&t[i], head, h);
        ws_html_heading(out, 3, t[i].prompt);
        ws_html_columns(out, h, t[i].text, 3);
    }
}
