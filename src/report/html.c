#include "report/html.h"
#include <string.h>

static const char css[] =
    "body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:62rem;margin:2rem auto;padding:0 "
    "1rem}\n"
    "h1{font-size:1.7rem;line-height:1.25}h2{font-size:1.25rem;margin-top:2.5rem;border-bottom:1px solid "
    "#ddd;padding-bottom:.2rem}h3{font-size:1rem;margin:1.6rem 0 .4rem}\n"
    "table{border-collapse:collapse;margin:1.2rem 0 .4rem;font-size:.92rem;display:block;overflow-x:auto}\n"
    "caption{text-align:left;font-weight:600;padding-bottom:.4rem}\n"
    "th,td{padding:.25rem .8rem .25rem 0;text-align:left;white-space:nowrap;border-bottom:1px solid #eee}\n"
    "th{border-bottom:2px solid #999}.num{text-align:right;font-variant-numeric:tabular-nums}\n"
    ".note{color:#555;font-size:.88rem;margin:.2rem 0}.warn{border-left:4px solid #d55e00;padding:.4rem "
    ".8rem;background:#fdf3ec}\n"
    "figure{margin:1.5rem 0}figure svg{max-width:100%;height:auto}\n"
    ".side{display:flex;gap:1.2rem;flex-wrap:wrap}.side>div{flex:1 1 16rem;background:#f7f7f7;padding:.6rem "
    ".8rem;border-radius:4px}\n"
    ".side h4{margin:0 0 .4rem;font-size:.85rem;color:#555}.side "
    "p{margin:0;white-space:pre-wrap;overflow-wrap:anywhere}\n"
    "@media print{body{max-width:none;margin:0}}\n";

static void escaped(ws_str *out, const char *before, const char *text, const char *after) {
    ws_str_adds(out, before);
    ws_html_escape(out, text, strlen(text));
    ws_str_adds(out, after);
}

void ws_html_open(ws_str *out, const char *title) {
    escaped(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>", title, "</title>\n");
    ws_str_adds(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<style>\n");
    ws_str_adds(out, css);
    escaped(out, "</style>\n</head>\n<body>\n<h1>", title, "</h1>\n");
}

void ws_html_heading(ws_str *out, int level, const char *text) {
    ws_str_addf(out, "<h%d>", level);
    ws_html_escape(out, text, strlen(text));
    ws_str_addf(out, "</h%d>\n", level);
}

void ws_html_paragraph(ws_str *out, const char *text) { escaped(out, "<p>", text, "</p>\n"); }
void ws_html_note(ws_str *out, const char *text) { escaped(out, "<p class=\"warn\">", text, "</p>\n"); }

/* Where cairo writes or uses an id: id="X", href="#X", url(#X). */
static size_t id_here(const char *s) {
    static const char *const at[] = {" id=\"", "href=\"#", "url(#"};
    for (int i = 0; i < 3; i++)
        if (!strncmp(s, at[i], strlen(at[i]))) return strlen(at[i]);
    return 0;
}

void ws_html_svg(ws_str *out, const char *svg, size_t n, int number, const char *alt) {
    const char *end = svg + n, *p = strstr(svg, "<svg");
    escaped(out, "<figure role=\"img\" aria-label=\"", alt, "\">\n");
    while (p && p < end) {
        size_t k = id_here(p);
        if (!k) {
            ws_str_addc(out, *p++);
            continue;
        }
        ws_str_add(out, p, k);
        ws_str_addf(out, "p%d-", number);
        p += k;
    }
    ws_str_adds(out, "</figure>\n");
}

void ws_html_columns(ws_str *out, const char *const *heading, const char *const *text, int n) {
    ws_str_adds(out, "<div class=\"side\">\n");
    for (int i = 0; i < n; i++) {
        escaped(out, "<div><h4>", heading[i], "</h4>");
        escaped(out, "<p>", text[i], "</p></div>\n");
    }
    ws_str_adds(out, "</div>\n");
}

void ws_html_close(ws_str *out) { ws_str_adds(out, "</body>\n</html>\n"); }
