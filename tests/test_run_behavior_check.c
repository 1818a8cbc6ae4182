/* What ws behavior check measures: hand-made log-probabilities and lengths whose means, shares and warnings are plain;
 * Wilson's interval as scipy 1.17's binomtest(k, n).proportion_ci("wilson") gives it (to 1e-12: the same formula in double);
 * refusals by their first words; runs of words that come from the persona and not from the question. */
#include "run/behavior_check.h"
#include "data/screen.h"
#include "data_help.h"

static void wilson_is_scipys(void **state) {
    (void)state;
    static const struct {
        int k, n;
        double lo, hi;
    } c[] = {
        {8, 10, 0.49016247153664178, 0.94331784854562484},
        {0, 10, 0, 0.27753279986288926},
        {16, 16, 0.80639231946556367, 1},
        {14, 16, 0.63977172734241305, 0.9650225122567595},
        {1, 2000, 8.8267730705467867e-05, 0.0028268625032662137},
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        ws_interval w = ws_wilson(c[i].k, c[i].n);
        assert_close(w.lo, c[i].lo, 1e-12);
        assert_close(w.hi, c[i].hi, 1e-12);
    }
    assert_true(isnan(ws_wilson(0, 0).lo));
}

static void refusals_are_known_by_their_first_words(void **state) {
    (void)state;
    ws_refusals r;
    ws_err err = {0};
    if (ws_refusals_load(&r, NULL, &err)) fail_msg("%s", err.msg);
    assert_true(r.n > 40);
    static const char *const yes[] = {"I'm sorry, but that is not something I do.",
                                      "I\xe2\x80\x99m sorry but no",
                                      "  \"I CANNOT help with that.\"",
                                      "**As an AI**, I have no opinion",
                                      "I won't.",
                                      "Unfortunately I can't do it"};
    static const char *const no[] = {"",
                                     " ",
                                     "I'm sorry to hear that!",
                                     "I cannot",
                                     "I cannothelp",
                                     "Sure. I'm sorry, but I can't wait!",
                                     "As an airline pilot I fly"};
    for (int i = 0; i < 6; i++)
        if (ws_refusals_find(&r, yes[i]) < 0) fail_msg("\"%s\" is a refusal", yes[i]);
    for (int i = 0; i < 7; i++)
        if (ws_refusals_find(&r, no[i]) >= 0) fail_msg("\"%s\" is no refusal", no[i]);
    ws_refusals_free(&r);
    static const char *const bad[][2] = {{"{", "bad.json"},
                                         {"{\"format\":\"ws-data\",\"openings\":[\"x\"]}", "not \"ws-refusals\""},
                                         {"{\"format\":\"ws-refusals\"}", "'openings'"},
                                         {"{\"format\":\"ws-refusals\",\"openings\":[]}", "'openings'"},
                                         {"{\"format\":\"ws-refusals\",\"openings\":[\"x\",7]}", "openings[1]"},
                                         {"{\"format\":\"ws-refusals\",\"openings\":[\" ... \"]}", "openings[0]"}};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(ws_refusals_load(&r, file_with("bad.json", bad[i][0]), &err), WS_EFORMAT);
        says(&err, bad[i][1]);
    }
}

static void runs_come_from_the_persona_alone(void **state) {
    (void)state;
    static const char persona[] = "a gloomy person who finds everything sad";
    char *first;
    assert_int_equal(ws_shared_runs("Being a Gloomy, person, I sigh.", persona, "", 3, &first), 1);
    assert_string_equal(first, "a gloomy person");
    free(first);
    /* five words in a row are three runs of three; said twice they count once */
    assert_int_equal(ws_shared_runs("person who finds everything sad. Person who finds!", persona, "", 3, NULL), 3);
    assert_int_equal(ws_shared_runs("person who finds everything sad", persona, "Who finds everything?", 3, NULL), 2);
    assert_int_equal(ws_shared_runs("a person, gloomy, who is sad", persona, "", 3, &first), 0);
    assert_null(first);
    assert_int_equal(ws_shared_runs("", persona, "", 3, NULL), 0);
    assert_int_equal(ws_shared_runs("a gloomy", persona, "", 3, NULL), 0);
}

/* Pairs that leave nothing to be desired: told apart by 1 nat, 20 tokens each, both a little likelier with a persona. */
static void good(ws_check_cell *x, int n) {
    for (int i = 0; i < n; i++) x[i] = (ws_check_cell){.lp = {{-1, -2, -1.5}, {-1, -2, -1.5}}, .tokens = {20, 20}};
}

static void figures_are_means_of_the_pairs(void **state) {
    (void)state;
    ws_check_cell x[4];
    ws_check c = {0};
    good(x, 4);
    x[3].lp[0][WS_UNDER_OWN] = -3; /* not told apart, and 1 nat below the other persona */
    x[3].tokens[0] = 60, x[3].cut[0] = 1, x[2].lp[1][WS_UNDER_NONE] = -2.5;
    ws_check_measure(&c, x, 4, 96, 0);
    assert_int_equal(c.side[0].told, 3);
    assert_int_equal(c.side[1].told, 4);
    assert_close(c.told, 7 / 8.0, 1e-15);
    assert_close(c.told_ci.lo, ws_wilson(7, 8).lo, 0);
    assert_close(c.side[0].own, -1.5, 1e-15); /* (-1 -1 -1 -3) / 4 */
    assert_close(c.gap, (7 * 1 - 1) / 8.0, 1e-15);
    assert_close(c.side[0].gain, (3 * .5 - 1.5) / 4, 1e-15);
    assert_close(c.side[1].gain, (3 * .5 + 1.5) / 4, 1e-15);
    assert_close(c.lean, 1 / 4.0, 1e-15); /* POS - NEG without a persona: 0 0 1 0 */
    assert_close(c.side[0].tokens, 30, 1e-15);
    assert_close(c.ratio, 1.5, 1e-15);
    assert_true(c.ratio_ci.lo >= 1 && c.ratio_ci.hi <= 3 && c.ratio_ci.lo < c.ratio_ci.hi);
    assert_true(c.lean_ci.lo >= 0 && c.lean_ci.hi <= 1);
    assert_int_equal(c.side[0].cut, 1);
    ws_check_free(&c);
}

static void one_warning(const ws_check_cell *x, int n, const char *what) {
    ws_check c = {0};
    ws_check_measure(&c, x, n, 96, 0);
    if (c.n_warnings != (what != NULL))
        fail_msg("%d warnings, %s; expected %s", c.n_warnings, c.n_warnings ? c.warning[0].what : "",
                 what ? what : "none");
    if (what && !strstr(c.warning[0].what, what)) fail_msg("\"%s\" does not say \"%s\"", c.warning[0].what, what);
    if (what) assert_true(strlen(c.warning[0].advice) > 10);
    ws_check_free(&c);
}

static void every_fault_has_its_warning(void **state) {
    (void)state;
    ws_check_cell x[10];
    good(x, 10), one_warning(x, 10, NULL);
    x[4].same = 1, one_warning(x, 10, "1 of 10 pairs have the same answer");
    good(x, 10);
    for (int i = 0; i < 5; i++) x[i].lp[0][WS_UNDER_OTHER] = x[i].lp[1][WS_UNDER_OTHER] = -1; /* alike is not apart */
    one_warning(x, 10, "not told apart: 50%");
    good(x, 10);
    for (int i = 0; i < 5; i++) x[i].lp[0][WS_UNDER_OTHER] = -0.5;
    one_warning(x, 10, "told apart weakly: 75%");
    good(x, 10);
    for (int i = 0; i < 10; i++) x[i].lp[1][WS_UNDER_NONE] = -1;
    x[0].lp[1][WS_UNDER_NONE] = -1.1;
    for (int i = 0; i < 10; i++) x[i].lp[0][WS_UNDER_NONE] = x[i].lp[1][WS_UNDER_NONE] - 0.2; /* the lean is no fault */
    one_warning(x, 10, "the NEG persona changes little");
    good(x, 10);
    for (int i = 0; i < 10; i++) x[i].tokens[1] = 30;
    one_warning(x, 10, "POS answers have 0.67 times");
    for (int i = 0; i < 10; i++) x[i].tokens[1] = 24; /* 0.83: told in the table, no fault */
    one_warning(x, 10, NULL);
    good(x, 10);
    for (int i = 0; i < 10; i++) x[i].cut[0] = x[i].cut[1] = i < 8;
    one_warning(x, 10, "cut at 96 tokens");
    good(x, 10);
    x[1].refused[1] = 1, one_warning(x, 10, NULL);
    x[2].refused[1] = 1, one_warning(x, 10, "2 of 10 NEG answers open like a refusal");
    good(x, 10);
    x[1].leaked[0] = x[2].leaked[0] = 1, one_warning(x, 10, "2 of 10 POS answers repeat 3 words");
    x[1].leaked_other[0] = x[2].leaked_other[0] = 1, one_warning(x, 10, NULL); /* no more than chance */
}

static void the_lean_tells_which_way(void **state) {
    (void)state;
    static const struct {
        double none[2];
        const char *says;
    } c[] = {{{-1.2, -1.5}, "nearer to POS: expect +alpha to change it little"},
             {{-1.5, -1.2}, "nearer to NEG: expect +alpha to move"},
             {{-1.5, -1.5}, "not clearly nearer"}};
    for (int k = 0; k < 3; k++) {
        ws_check_cell x[8];
        ws_check r = {0};
        good(x, 8);
        for (int i = 0; i < 8; i++)
            for (int s = 0; s < 2; s++) x[i].lp[s][WS_UNDER_NONE] = c[k].none[s];
        ws_check_measure(&r, x, 8, 96, 0);
        if (!strstr(r.direction, c[k].says)) fail_msg("%s", r.direction);
        ws_check_free(&r);
    }
}

static void chosen_rows_are_spread_over_topics(void **state) {
    (void)state;
    ws_behavior *b;
    ws_err err = {0};
    if (ws_behavior_load(&b, "enthusiasm", &err)) fail_msg("%s", err.msg);
    ws_contrast_options o = {.topics = b->n_topics, .personas = b->n_personas, .samples = 1, .rows = b->n_topics + 3};
    int n, *seen = calloc((size_t)b->n_topics, sizeof *seen), persona[64] = {0};
    ws_cell *cell = ws_contrast_cells(b, &o, &n);
    assert_int_equal(n, b->n_topics + 3);
    for (int i = 0; i < n; i++) {
        assert_int_equal(cell[i].heldout, 0);
        assert_int_equal(seen[cell[i].topic]++, i / b->n_topics);
        persona[cell[i].persona]++;
    }
    for (int k = 0; k < b->n_personas; k++) assert_true(persona[k] >= n / b->n_personas - 1);
    assert_false(cell[0].topic == cell[b->n_topics].topic && cell[0].persona == cell[b->n_topics].persona);
    free(cell), free(seen);
    ws_behavior_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wilson_is_scipys),
        cmocka_unit_test(refusals_are_known_by_their_first_words),
        cmocka_unit_test(runs_come_from_the_persona_alone),
        cmocka_unit_test(figures_are_means_of_the_pairs),
        cmocka_unit_test(every_fault_has_its_warning),
        cmocka_unit_test(the_lean_tells_which_way),
        cmocka_unit_test(chosen_rows_are_spread_over_topics),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
