/* src/steer/control_vector.h - GGUF control vectors: read as a method, and written from vectors that are one direction a
 * layer. */
#ifndef WS_STEER_CONTROL_VECTOR_H
#define WS_STEER_CONTROL_VECTOR_H
#include "steer/room.h"

int ws_is_control_vector(const char *path); /* a GGUF whose architecture is "controlvector" */
ws_status ws_control_vector_load(ws_vector **out, const ws_model *m, const char *path, int force, ws_err *err);
/* WS_EUNSUPPORTED says why a method's map, or a vector behind layer 0, cannot be one. */
ws_status ws_control_vector_check(const ws_vector *v, ws_err *err);
/* direction.N = strength v */
ws_status ws_control_vector_save(const ws_vector *v, double strength, const char *path, ws_err *err);
#endif
