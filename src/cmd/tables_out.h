/* src/cmd/tables_out.h - tables on stdout in one of four forms. */
#ifndef WS_CMD_TABLES_OUT_H
#define WS_CMD_TABLES_OUT_H
#include "run/tables.h"

/* 1: text, markdown, csv or json. */
int ws_tables_format(const char *format);
/* All of them, or the one called `only`; WS_EUSAGE where there is none of that name. */
ws_status ws_tables_out(const ws_tables *all, const char *only, const char *format, ws_err *err);
#endif
