/* tests/hub_server.c - a hub for tests/t_pull.sh: serves the folders ROOT/org/name as models, on two ports of this machine,
 * the hub's and its file host's, and misbehaves as the address asks.
 *     hub_server ROOT LOG       prints "HUBPORT FILEPORT", appends a line a request to LOG, ends after five minutes
 * A model's commit is the text of ROOT/org/name/.commit.  Weight files are in LFS: `resolve` points to the file host, with a
 * link that is numbered (?sig=N); other files come from the hub itself.
 * HF_ENDPOINT=http://127.0.0.1:HUBPORT/~RULE=N,RULE=N asks for misbehaviour; counters are kept for each such prefix:
 *     fail=STATUS failn=K retry=S   the first K answers of the hub (with Retry-After)     drop=K   K answers are none
 *     files=STATUS filesn=K         the first K answers of the file host
 *     uses=K                        a link serves K times, then it has expired (403)
 *     cut=N cutn=K                  the first K bodies break off after N bytes            stall=N  the first one hangs there
 *     flip=K                        the first K bodies have a wrong first byte            slow=N   bytes a second
 *     short=1 long=1                the file host sends less, or more, than was announced norange=1  and knows no ranges
 *     auth=1 gated=1 forbid=1       a token is needed; access must be asked for; refused
 *     echo=1                        errors repeat the Authorization header
 *     nolength=1                    no size in the headers of files either, and bodies that end with the connection
 *     huge=1 nosize=1 evil=1|2|3    listings: sizes no disk has, none, a name, hash or commit that leads out of the cache
 *     moved=1                       old/name is redirected to org/name                    away=1   the listing is on the file host
 * No part of the program is in here: hashes are libcrypto's. */
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TOKEN "hf_test_token"
enum { MOST_STATES = 256, MOST_LINKS = 4096, PATH = 2048 };

static const char *root;
static FILE *log_file;
static int port[2]; /* the hub's, the file host's */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

typedef struct state {
    char rules[256];
    int hub, files, bodies, dropped, stalled;
} state;
static state states[MOST_STATES];
static int n_states, n_links, used[MOST_LINKS];

typedef struct request {
    int fd, at_files;
    char method[8], path[PATH], query[256], auth[256];
    long long from;
    state *s;
} request;

static long rule(const request *r, const char *name) {
    size_t n = strlen(name);
    for (const char *p = r->s->rules; p && *p; p = strchr(p, ',')) {
        if (*p == ',') p++;
        if (!strncmp(p, name, n) && p[n] == '=') return atol(p + n + 1);
    }
    return 0;
}

/* Counts up and says whether this is one of the first `most`. */
static int one_of_first(int *counter, long most) {
    pthread_mutex_lock(&mutex);
    int yes = (*counter)++ < most;
    pthread_mutex_unlock(&mutex);
    return yes;
}

/* ---- answers ---- */

static void put(int fd, const void *bytes, size_t n) {
    for (const char *p = bytes; n;) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0) return;
        p += k, n -= (size_t)k;
    }
}

static void answer(const request *r, int status, const char *headers, const char *body) {
    char head[4096];
    long wait = rule(r, "retry");
    int n = snprintf(head, sizeof head, "HTTP/1.1 %d x\r\nConnection: close\r\nContent-Length: %zu\r\n", status,
                     strlen(body));
    if (status == 429 && wait) n += snprintf(head + n, sizeof head - (size_t)n, "Retry-After: %ld\r\n", wait);
    if (status >= 400 && rule(r, "echo"))
        n += snprintf(head + n, sizeof head - (size_t)n, "X-Error-Message: you sent %s\r\n", r->auth);
    n += snprintf(head + n, sizeof head - (size_t)n, "%s\r\n", headers);
    put(r->fd, head, (size_t)n);
    if (strcmp(r->method, "HEAD")) put(r->fd, body, strlen(body));
}

static void error(const request *r, int status, const char *code) {
    char h[128];
    snprintf(h, sizeof h, "X-Error-Code: %s\r\n", code);
    answer(r, status, h, "{\"error\":\"no\"}");
}

/* ---- files ---- */

typedef struct blob {
    char *p;
    size_t n;
    char sha256[65], sha1[41];
} blob;

static void digest(char *hex, const EVP_MD *kind, const char *head, size_t n_head, const char *p, size_t n) {
    unsigned char d[EVP_MAX_MD_SIZE];
    unsigned k = 0;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    EVP_DigestInit_ex(c, kind, NULL);
    EVP_DigestUpdate(c, head, n_head);
    EVP_DigestUpdate(c, p, n);
    EVP_DigestFinal_ex(c, d, &k);
    EVP_MD_CTX_free(c);
    for (unsigned i = 0; i < k; i++) sprintf(hex + 2 * i, "%02x", d[i]);
}

static int load(blob *b, const char *path) {
    struct stat st;
    FILE *f = stat(path, &st) || !S_ISREG(st.st_mode) ? NULL : fopen(path, "rbe");
    char head[40];
    if (!f) return 0;
    b->p = malloc((size_t)st.st_size + 1);
    b->n = fread(b->p, 1, (size_t)st.st_size, f);
    fclose(f);
    digest(b->sha256, EVP_sha256(), "", 0, b->p, b->n);
    int k = sprintf(head, "blob %zu", b->n);
    digest(b->sha1, EVP_sha1(), head, (size_t)k + 1, b->p, b->n);
    return 1;
}

static int ends(const char *s, const char *suffix) {
    size_t n = strlen(s), k = strlen(suffix);
    return n > k && !strcmp(s + n - k, suffix);
}

static int in_lfs(const char *name) { return ends(name, ".safetensors") || ends(name, ".gguf"); }

/* %20 -> blank, in place. */
static void unescape(char *s) {
    char *to = s;
    for (unsigned v; *s; s++)
        if (*s == '%' && sscanf(s + 1, "%2x", &v) == 1)
            *to++ = (char)v, s += 2;
        else
            *to++ = *s;
    *to = 0;
}

static void commit_of(const char *repo, char out[64]) {
    char path[PATH];
    snprintf(path, sizeof path, "%s/%s/.commit", root, repo);
    FILE *f = fopen(path, "re");
    if (!f || fscanf(f, "%63s", out) != 1) strcpy(out, "1111111111111111111111111111111111111111");
    if (f) fclose(f);
}

/* Every file below ROOT/repo/sub, as entries of a listing (tree: in the form of /tree). */
static void list(const request *r, const char *repo, const char *sub, int tree, char *out, size_t cap) {
    char path[2 * PATH], name[PATH];
    snprintf(path, sizeof path, "%s/%s/%s", root, repo, sub);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        blob b = {0};
        if (e->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "%s%s%s", sub, *sub ? "/" : "", e->d_name);
        snprintf(path, sizeof path, "%s/%s/%s", root, repo, name);
        if (!load(&b, path)) {
            list(r, repo, name, tree, out, cap);
            continue;
        }
        long long size = rule(r, "huge") ? 1000000000000000LL : (long long)b.n;
        size_t n = strlen(out);
        if (n && out[n - 1] == '}') n += (size_t)snprintf(out + n, cap - n, ",");
        if (tree)
            n += (size_t)snprintf(out + n, cap - n, "{\"type\":\"file\",\"path\":\"%s\",\"oid\":\"%s\",\"size\":%lld",
                                  name, b.sha1, size);
        else
            n += (size_t)snprintf(out + n, cap - n, "{\"rfilename\":\"%s\"", name);
        if (!tree && !rule(r, "nosize"))
            n += (size_t)snprintf(out + n, cap - n, ",\"size\":%lld,\"blobId\":\"%s\"", size, b.sha1);
        if (in_lfs(name) && !rule(r, "nosize"))
            n += (size_t)snprintf(out + n, cap - n, ",\"lfs\":{\"%s\":\"%s\",\"size\":%lld,\"pointerSize\":134}",
                                  tree ? "oid" : "sha256", b.sha256, size);
        snprintf(out + n, cap - n, "}");
        free(b.p);
    }
    if (d) closedir(d);
}

/* ---- the hub ---- */

static int known_revision(const char *rev, const char *commit) {
    return !strcmp(rev, "main") || !strcmp(rev, commit) || !strcmp(rev, "v2") || !strcasecmp(rev, "refs%2Fpr%2F1");
}

/* 0 when the request may go on. */
static int refused(const request *r, const char *repo, const char *rev, const char *commit) {
    char path[PATH];
    int token = !strcmp(r->auth, "Bearer " TOKEN);
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", root, repo);
    if (*r->auth && !token)
        answer(r, 401, "X-Error-Message: Invalid credentials in Authorization header\r\n", "{}");
    else if (rule(r, "forbid"))
        answer(r, 403, "", "{}");
    else if (rule(r, "gated"))
        error(r, token ? 403 : 401, "GatedRepo");
    else if (stat(path, &st) || (rule(r, "auth") && !token))
        error(r, token ? 404 : 401, "RepoNotFound");
    else if (rev && !known_revision(rev, commit))
        error(r, 404, "RevisionNotFound");
    else
        return 0;
    return 1;
}

/* Splits "org/name/rest" after two parts; the rest, or NULL. */
static char *after_repo(char *path) {
    char *slash = strchr(path, '/');
    slash = slash ? strchr(slash + 1, '/') : NULL;
    if (slash) *slash++ = 0;
    return slash;
}

static void api(const request *r, char *path) {
    static const size_t cap = 1 << 18;
    char *rest = after_repo(path), commit[64], h[PATH];
    int tree = rest && !strncmp(rest, "tree/", 5);
    char *rev = tree ? rest + 5 : rest && !strncmp(rest, "revision/", 9) ? rest + 9 : NULL;
    if (rule(r, "moved") && !strcmp(path, "old/name")) {
        snprintf(h, sizeof h, "Location: /~%s/api/models/org/name/%s%s%s\r\n", r->s->rules, rest, *r->query ? "?" : "",
                 r->query);
        answer(r, 307, h, "");
        return;
    }
    if (rule(r, "away") && !r->at_files) {
        snprintf(h, sizeof h, "Location: http://localhost:%d/~%s/api/models/%s/%s?%s\r\n", port[1], r->s->rules, path,
                 rest, r->query);
        answer(r, 302, h, "");
        return;
    }
    commit_of(path, commit);
    if (refused(r, path, rev, commit)) return;
    char *files = calloc(1, cap), *body = malloc(cap + 1024);
    if (rule(r, "evil") == 1) strcpy(files, "{\"rfilename\":\"../../../../evil.txt\",\"size\":1}");
    list(r, path, "", tree, files, cap);
    if (tree)
        sprintf(body, "[%s]", files);
    else
        sprintf(body, "{\"id\":\"%s\",\"sha\":\"%s\",\"siblings\":[%s]}", path,
                rule(r, "evil") == 3 ? "../../x" : commit, files);
    answer(r, 200, "Content-Type: application/json\r\n", body);
    free(files), free(body);
}

/* "NAME: size" as a header line, or nothing. */
static const char *size_line(const request *r, char buf[64], const char *name, size_t size) {
    buf[0] = 0;
    if (!rule(r, "nolength"))
        snprintf(buf, 64, "%s: %lld\r\n", name, rule(r, "huge") ? 1000000000000000LL : (long long)size);
    return buf;
}

static void resolve(const request *r, char *path) {
    char *rest = after_repo(path), commit[64], h[2 * PATH], file_path[2 * PATH];
    char *rev = rest && !strncmp(rest, "resolve/", 8) ? rest + 8 : NULL, *file = rev ? strchr(rev, '/') : NULL;
    blob b = {0};
    if (!file) {
        error(r, 404, "EntryNotFound");
        return;
    }
    *file++ = 0;
    char link_path[PATH], size[64];
    snprintf(link_path, sizeof link_path, "%.2000s", file);
    unescape(file);
    if (rule(r, "moved") && !strcmp(path, "old/name")) {
        snprintf(h, sizeof h, "Location: /~%s/org/name/resolve/%s/%s\r\n", r->s->rules, rev, file);
        answer(r, 307, h, "");
        return;
    }
    commit_of(path, commit);
    if (refused(r, path, rev, commit)) return;
    snprintf(file_path, sizeof file_path, "%s/%s/%s", root, path, file);
    if (strstr(file, "..") || !load(&b, file_path)) {
        snprintf(h, sizeof h, "X-Error-Code: EntryNotFound\r\nX-Repo-Commit: %s\r\n", commit);
        answer(r, 404, h, "");
        return;
    }
    const char *etag = rule(r, "evil") == 2 ? "../../../evil" : in_lfs(file) ? b.sha256 : b.sha1;
    if (in_lfs(file)) {
        pthread_mutex_lock(&mutex);
        int link = ++n_links % MOST_LINKS;
        pthread_mutex_unlock(&mutex);
        snprintf(h, sizeof h,
                 "X-Repo-Commit: %s\r\nX-Linked-Etag: \"%s\"\r\n%sETag: \"other\"\r\n"
                 "Location: http://localhost:%d/~%s/file/%s/%s?sig=%d\r\n",
                 commit, etag, size_line(r, size, "X-Linked-Size", b.n), port[1], r->s->rules, path, link_path, link);
        answer(r, 302, h, "");
    } else {
        int head = !strcmp(r->method, "HEAD");
        snprintf(h, sizeof h, "HTTP/1.1 200 x\r\nConnection: close\r\nX-Repo-Commit: %s\r\nETag: W/\"%s\"\r\n%s\r\n",
                 commit, etag, size_line(r, size, "Content-Length", b.n));
        put(r->fd, h, strlen(h));
        if (!head) put(r->fd, b.p, b.n);
    }
    free(b.p);
}

/* ---- the file host ---- */

static void send_body(const request *r, const char *p, size_t n, size_t end) {
    long slow = rule(r, "slow");
    size_t step = slow ? (size_t)slow / 20 + 1 : n + 1;
    for (size_t at = 0; at < end; at += step) {
        put(r->fd, p + at, end - at < step ? end - at : step);
        if (slow) usleep(50000);
    }
}

static void serve_file(const request *r, const char *path) {
    char file_path[PATH], head[512];
    blob b = {0};
    const char *sig = strstr(r->query, "sig=");
    int link = sig ? atoi(sig + 4) % MOST_LINKS : 0;
    snprintf(file_path, sizeof file_path, "%s/%s", root, path);
    if (*r->auth) { /* what the test looks for in the log */
        answer(r, 400, "", "token leaked");
        return;
    }
    if (rule(r, "files") && one_of_first(&r->s->files, rule(r, "filesn"))) {
        answer(r, (int)rule(r, "files"), "", "no");
        return;
    }
    if (rule(r, "uses") && !one_of_first(&used[link], rule(r, "uses"))) {
        answer(r, 403, "", "<Error>expired</Error>");
        return;
    }
    if (strstr(path, "..") || !load(&b, file_path)) {
        answer(r, 404, "", "");
        return;
    }
    if (r->from > 0 && r->from >= (long long)b.n) {
        snprintf(head, sizeof head, "Content-Range: bytes */%zu\r\n", b.n);
        answer(r, 416, head, "");
        free(b.p);
        return;
    }
    size_t from = r->from > 0 && !rule(r, "norange") ? (size_t)r->from : 0;
    int body = r->s->bodies;
    one_of_first(&r->s->bodies, 0);
    size_t n = b.n - from, told = n - (rule(r, "short") ? 100 : 0) + (rule(r, "long") ? 100 : 0), end = told;
    char *p = calloc(1, n + 101);
    memcpy(p, b.p + from, n);
    if (body < rule(r, "flip")) p[0] ^= 1;
    char length[64];
    int k = snprintf(head, sizeof head, "HTTP/1.1 %d x\r\nConnection: close\r\n%s", from ? 206 : 200,
                     size_line(r, length, "Content-Length", told));
    if (from)
        k += snprintf(head + k, sizeof head - (size_t)k, "Content-Range: bytes %zu-%zu/%zu\r\n", from, b.n - 1, b.n);
    k += snprintf(head + k, sizeof head - (size_t)k, "\r\n");
    put(r->fd, head, (size_t)k);
    if (rule(r, "cut") && body < rule(r, "cutn") && (size_t)rule(r, "cut") < end) end = (size_t)rule(r, "cut");
    int stall = rule(r, "stall") && one_of_first(&r->s->stalled, 1);
    if (stall && (size_t)rule(r, "stall") < end) end = (size_t)rule(r, "stall");
    send_body(r, p, n, end);
    if (stall) sleep(5);
    free(p), free(b.p);
}

/* ---- connections ---- */

static int read_request(request *r) {
    char buf[16384], *line, *rest = NULL, *rules = NULL, target[PATH];
    size_t n = 0;
    buf[0] = 0;
    while (!strstr(buf, "\r\n\r\n")) {
        ssize_t k = n < sizeof buf - 1 ? recv(r->fd, buf + n, sizeof buf - 1 - n, 0) : 0;
        if (k <= 0) return 0;
        n += (size_t)k, buf[n] = 0;
    }
    line = strtok_r(buf, "\r\n", &rest);
    if (!line || sscanf(line, "%7s %2047s", r->method, target) != 2) return 0;
    while ((line = strtok_r(NULL, "\r\n", &rest))) {
        if (!strncasecmp(line, "authorization: ", 15)) snprintf(r->auth, sizeof r->auth, "%s", line + 15);
        if (!strncasecmp(line, "range: bytes=", 13)) r->from = atoll(line + 13);
    }
    char *q = strchr(target, '?'), *path = target;
    if (q) *q++ = 0, snprintf(r->query, sizeof r->query, "%s", q);
    if (!strncmp(path, "/~", 2)) {
        rules = path + 2;
        if (!(path = strchr(rules, '/'))) return 0;
        *path = 0, memmove(r->path, path + 1, strlen(path + 1) + 1);
    } else
        memmove(r->path, path + 1, strlen(path + 1) + 1);
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < n_states && !r->s; i++)
        if (!strcmp(states[i].rules, rules ? rules : "")) r->s = &states[i];
    if (!r->s && n_states < MOST_STATES) {
        r->s = &states[n_states++];
        if (rules) memcpy(r->s->rules, rules, strnlen(rules, sizeof r->s->rules - 1));
    }
    if (r->s) {
        fprintf(log_file, "%s %s /~%s/%s from=%lld token=%d\n", r->at_files ? "FILES" : "HUB", r->method, r->s->rules,
                r->path, r->from, *r->auth != 0);
        fflush(log_file);
    }
    pthread_mutex_unlock(&mutex);
    return r->s != NULL;
}

static void *serve(void *arg) {
    request *r = arg;
    if (read_request(r)) {
        if (!strncmp(r->path, "file/", 5))
            unescape(r->path), serve_file(r, r->path + 5);
        else if (rule(r, "drop") && one_of_first(&r->s->dropped, rule(r, "drop")))
            ; /* no answer */
        else if (rule(r, "fail") && one_of_first(&r->s->hub, rule(r, "failn")))
            answer(r, (int)rule(r, "fail"), "", "busy");
        else if (!strncmp(r->path, "api/models/", 11))
            api(r, r->path + 11);
        else
            resolve(r, r->path);
    }
    shutdown(r->fd, SHUT_RDWR);
    close(r->fd);
    free(r);
    return NULL;
}

static int listen_on(int which) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, n) || listen(fd, 64) || getsockname(fd, (struct sockaddr *)&a, &n)) {
        perror("hub_server");
        exit(1);
    }
    port[which] = ntohs(a.sin_port);
    return fd;
}

static void *accept_all(void *arg) {
    int *fd = arg;
    for (;;) {
        int k = accept(fd[0], NULL, NULL);
        if (k < 0) continue;
        request *r = calloc(1, sizeof *r);
        r->fd = k, r->at_files = fd[1];
        pthread_t t;
        if (!pthread_create(&t, NULL, serve, r)) pthread_detach(t);
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 3 || !(log_file = fopen(argv[2], "ae"))) {
        fputs("usage: hub_server ROOT LOG\n", stderr);
        return 2;
    }
    root = argv[1];
    alarm(300);
    static int hub[2], files[2];
    hub[0] = listen_on(0), files[0] = listen_on(1), files[1] = 1;
    printf("%d %d\n", port[0], port[1]);
    fflush(stdout);
    pthread_t t;
    pthread_create(&t, NULL, accept_all, files);
    accept_all(hub);
    return 0;
}
