/* src/calibrate/files.h - the CSV files of a calibration (docs/formats.md); rows are collected, then written whole. */
#ifndef WS_CALIBRATE_FILES_H
#define WS_CALIBRATE_FILES_H
#include "base/str.h"
#include "calibrate/calibrate.h"

typedef struct ws_cal_files {
    ws_str root, timing, prompts;
} ws_cal_files;
void ws_cal_files_start(ws_cal_files *f); /* headers */
void ws_cal_files_free(ws_cal_files *f);
/* Probe that `root` is about to be given; side 0: alpha > 0. */
void ws_cal_root(ws_cal_files *f, const char *method, int side, const ws_root *root, double alpha,
                 const ws_kl_stats *k);
void ws_cal_timing(ws_cal_files *f, const char *method, const char *set, double alpha, double seconds, int batch);
void ws_cal_prompt(ws_cal_files *f, const char *split, int index, const char *category, int tokens, const char *text);
/* All files into o->out, summary.csv last: its presence says that the calibration is complete. */
ws_status ws_cal_files_write(ws_cal_files *f, const ws_calibration *c, const ws_calibrate_options *o, int n_audit,
                             ws_err *err);
#endif
