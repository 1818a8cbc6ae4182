/* Files appear whole or not at all, line files lose nothing to SIGKILL or a full disk, locks exclude. */
#include "io_help.h"
#include "io/file.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int entries(const char *dir) {
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));) n += e->d_name[0] != '.';
    if (d) closedir(d);
    return n;
}

static void assert_holds(const char *path, const char *text) {
    ws_err err;
    ws_str s = {0};
    OK(ws_file_read(path, &s, &err));
    assert_string_equal(s.p, text);
    ws_str_free(&s);
}

/* Runs fn in a child where files may not grow above `bytes`: the nearest thing to a full disk that needs no mount. */
static int in_child(int (*fn)(void), rlim_t bytes) {
    pid_t pid = fork();
    if (!pid) {
        struct rlimit r = {bytes, bytes};
        if (bytes) {
            signal(SIGXFSZ, SIG_IGN);
            setrlimit(RLIMIT_FSIZE, &r);
        }
        _exit(fn());
    }
    int st;
    waitpid(pid, &st, 0);
    return WIFEXITED(st) ? WEXITSTATUS(st) : 255;
}

static void a_file_is_mapped(void **state) {
    (void)state;
    ws_err err;
    ws_map m;
    OK(ws_file_write(in_scratch("m"), "hello", 5, &err));
    OK(ws_map_open(&m, in_scratch("m"), &err));
    assert_int_equal(m.n, 5);
    assert_memory_equal(m.p, "hello", 5);
    ws_map_close(&m);
    OK(ws_file_write(in_scratch("empty"), NULL, 0, &err));
    OK(ws_map_open(&m, in_scratch("empty"), &err));
    assert_null(m.p);
    ws_map_close(&m);
    REFUSED(ws_map_open(&m, in_scratch("none"), &err), WS_EIO, "none: No such file");
    REFUSED(ws_map_open(&m, scratch, &err), WS_EIO, "not a regular file");
}

static void folders_are_made_on_the_way(void **state) {
    (void)state;
    ws_err err;
    OK(ws_file_write(in_scratch("a/b/c.txt"), "x", 1, &err));
    assert_holds(in_scratch("a/b/c.txt"), "x");
    OK(ws_mkdirs(in_scratch("a//b/"), &err));
    REFUSED(ws_mkdirs(in_scratch("a/b/c.txt/d"), &err), WS_EIO, "c.txt");
    REFUSED(ws_mkdirs(in_scratch("a/b/c.txt"), &err), WS_EIO, "is a file");
    REFUSED(ws_file_write(in_scratch("a/b"), "x", 1, &err), WS_EIO, "is a directory");
}

static void paths_are_joined(void **state) {
    (void)state;
    static const char *const t[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"a", "/b", "/b"}};
    for (size_t i = 0; i < 4; i++) {
        char *p = ws_path_join(t[i][0], t[i][1]);
        assert_string_equal(p, t[i][2]);
        free(p);
    }
}

static void an_abandoned_file_leaves_the_old_one(void **state) {
    (void)state;
    ws_err err;
    ws_out o;
    const char *path = in_scratch("keep/f");
    OK(ws_file_write(path, "old", 3, &err));
    OK(ws_out_open(&o, path, &err));
    fputs("new", o.f);
    fflush(o.f);
    assert_holds(path, "old");
    assert_int_equal(entries(in_scratch("keep")), 2);
    ws_out_abandon(&o);
    ws_out_abandon(&o);
    ws_out_abandon(NULL);
    assert_holds(path, "old");
    assert_int_equal(entries(in_scratch("keep")), 1);
    OK(ws_out_open(&o, path, &err));
    fputs("new", o.f);
    OK(ws_out_commit(&o, &err));
    assert_holds(path, "new");
    assert_int_equal(entries(in_scratch("keep")), 1);
}

static void a_link_stays_a_link(void **state) {
    (void)state;
    ws_err err;
    struct stat st;
    OK(ws_file_write(in_scratch("target"), "old", 3, &err));
    assert_int_equal(symlink("target", in_scratch("link")), 0);
    OK(ws_file_write(in_scratch("link"), "new", 3, &err));
    assert_int_equal(lstat(in_scratch("link"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_holds(in_scratch("target"), "new");
}

static void a_device_is_written_to_and_never_replaced(void **state) {
    (void)state;
    ws_err err;
    struct stat st;
    REFUSED(ws_file_write("/dev/full", "x", 1, &err), WS_EIO, "No space left on device");
    assert_int_equal(stat("/dev/full", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
    OK(ws_file_write("/dev/null", "x", 1, &err));
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
}

static int write_too_much(void) {
    ws_err err;
    char big[5000] = {'x'};
    const char *path = in_scratch("full/f");
    if (ws_file_write(path, big, sizeof big, &err) != WS_EIO) return 1;
    if (!strstr(err.msg, "File too large") || !strstr(err.msg, "the old file")) return 2;
    return entries(in_scratch("full")) == 1 ? 0 : 3;
}

static void a_full_disk_leaves_the_old_file_alone(void **state) {
    (void)state;
    ws_err err;
    OK(ws_file_write(in_scratch("full/f"), "old", 3, &err));
    assert_int_equal(in_child(write_too_much, 4096), 0);
    assert_holds(in_scratch("full/f"), "old");
}

static int line_too_long(void) {
    ws_err err;
    ws_lines l;
    char big[5000];
    memset(big, 'x', sizeof big);
    if (ws_lines_open(&l, in_scratch("full/lines"), &err)) return 1;
    if (ws_lines_add(&l, "first", 5, &err)) return 2;
    if (ws_lines_add(&l, big, sizeof big, &err) != WS_EIO || !strstr(err.msg, "File too large")) return 3;
    if (ws_lines_add(&l, "third", 5, &err)) return 4;
    return ws_lines_close(&l, &err) ? 5 : 0;
}

static void a_line_that_does_not_fit_is_taken_back(void **state) {
    (void)state;
    assert_int_equal(in_child(line_too_long, 4096), 0);
    assert_holds(in_scratch("full/lines"), "first\nthird\n");
}

static void a_half_written_line_is_cut_off(void **state) {
    (void)state;
    ws_err err;
    ws_lines l;
    const char *path = in_scratch("lines");
    OK(ws_file_write(path, "one\ntwo\nthr", 11, &err));
    OK(ws_lines_open(&l, path, &err));
    OK(ws_lines_add(&l, "three", 5, &err));
    OK(ws_lines_close(&l, &err));
    assert_holds(path, "one\ntwo\nthree\n");
    /* a first line longer than the reader's buffer, half written: nothing is left */
    char big[9000];
    memset(big, 'x', sizeof big);
    OK(ws_file_write(path, big, sizeof big, &err));
    OK(ws_lines_open(&l, path, &err));
    OK(ws_lines_close(&l, &err));
    assert_holds(path, "");
}

static void sigkill_loses_no_line(void **state) {
    (void)state;
    const char *path = in_scratch("killed");
    int pipefd[2];
    assert_int_equal(pipe(pipefd), 0);
    pid_t pid = fork();
    if (!pid) {
        ws_err err;
        ws_lines l;
        if (ws_lines_open(&l, path, &err)) _exit(1);
        for (int i = 0;; i++) {
            char line[64];
            int n = snprintf(line, sizeof line, "line %d", i);
            if (ws_lines_add(&l, line, (size_t)n, &err) || write(pipefd[1], "x", 1) != 1) _exit(1);
        }
    }
    char buf[100];
    int told = 0;
    while (told < 2000) told += (int)read(pipefd[0], buf, sizeof buf);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(pipefd[1]);
    for (ssize_t n; (n = read(pipefd[0], buf, sizeof buf)) > 0;) told += (int)n;
    close(pipefd[0]);
    ws_err err;
    ws_lines l;
    ws_str s = {0};
    OK(ws_lines_open(&l, path, &err));
    OK(ws_lines_close(&l, &err));
    OK(ws_file_read(path, &s, &err));
    int lines = 0, expected;
    for (char *p = s.p, *nl; (nl = strchr(p, '\n')); p = nl + 1, lines++) {
        assert_int_equal(sscanf(p, "line %d\n", &expected), 1);
        assert_int_equal(expected, lines);
    }
    assert_true(lines >= told); /* every line that ws_lines_add returned from */
    ws_str_free(&s);
}

static void a_second_run_is_refused_with_the_first_ones_pid(void **state) {
    (void)state;
    ws_err err;
    int first, second;
    const char *dir = in_scratch("run/here");
    char pid[64];
    snprintf(pid, sizeof pid, "in use by process %ld;", (long)getpid());
    OK(ws_lock(&first, dir, 0, &err));
    REFUSED(ws_lock(&second, dir, 0, &err), WS_ESTATE, pid); /* within one program too */
    assert_int_equal(second, -1);
    ws_unlock(first);
    OK(ws_lock(&second, dir, 0, &err));
    ws_unlock(second);
    ws_unlock(-1);
}

static void a_dead_process_holds_no_lock(void **state) {
    (void)state;
    ws_err err;
    int fd, ready[2];
    char c;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (!pid) {
        if (ws_lock(&fd, in_scratch("dead"), 0, &err)) _exit(1);
        if (write(ready[1], "x", 1) != 1) _exit(1);
        pause();
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    char text[64];
    snprintf(text, sizeof text, "process %ld;", (long)pid);
    REFUSED(ws_lock(&fd, in_scratch("dead"), 0, &err), WS_ESTATE, text);
    kill(pid, SIGKILL);
    OK(ws_lock(&fd, in_scratch("dead"), 1, &err)); /* waits until the kernel has let go */
    waitpid(pid, NULL, 0);
    ws_unlock(fd);
    close(ready[0]), close(ready[1]);
}

static int as_nobody(void) {
    ws_err err;
    int fd;
    ws_lines l;
    if (getuid() == 0 && setuid(65534)) return 9;
    if (ws_file_write(in_scratch("ro/f"), "x", 1, &err) != WS_EIO || !strstr(err.msg, "Permission denied")) return 1;
    if (ws_lock(&fd, in_scratch("ro"), 0, &err) != WS_EIO || !strstr(err.msg, "Permission denied")) return 2;
    if (ws_lines_open(&l, in_scratch("ro/l"), &err) != WS_EIO || !strstr(err.msg, "Permission denied")) return 3;
    if (ws_mkdirs(in_scratch("ro/sub"), &err) != WS_EIO || !strstr(err.msg, "Permission denied")) return 4;
    return 0;
}

static void a_read_only_directory_is_one_clear_error(void **state) {
    (void)state;
    ws_err err;
    OK(ws_mkdirs(in_scratch("ro"), &err));
    assert_int_equal(chmod(in_scratch("ro"), 0555), 0);
    assert_int_equal(chmod(scratch, 0755), 0);
    assert_int_equal(in_child(as_nobody, 0), 0);
    assert_int_equal(entries(in_scratch("ro")), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_mapped),
        cmocka_unit_test(folders_are_made_on_the_way),
        cmocka_unit_test(paths_are_joined),
        cmocka_unit_test(an_abandoned_file_leaves_the_old_one),
        cmocka_unit_test(a_link_stays_a_link),
        cmocka_unit_test(a_device_is_written_to_and_never_replaced),
        cmocka_unit_test(a_full_disk_leaves_the_old_file_alone),
        cmocka_unit_test(a_line_that_does_not_fit_is_taken_back),
        cmocka_unit_test(a_half_written_line_is_cut_off),
        cmocka_unit_test(sigkill_loses_no_line),
        cmocka_unit_test(a_second_run_is_refused_with_the_first_ones_pid),
        cmocka_unit_test(a_dead_process_holds_no_lock),
        cmocka_unit_test(a_read_only_directory_is_one_clear_error),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_drop);
}
