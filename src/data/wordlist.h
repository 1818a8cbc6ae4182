/* src/data/wordlist.h - a list of words as one regular expression, and the words of a text. */
#ifndef WS_DATA_WORDLIST_H
#define WS_DATA_WORDLIST_H
#include "io/json.h"
/* A pattern (to be compiled without case) that matches any of the words or phrases as a whole: "joy" not in "joyful"; a
 * blank in a phrase matches any white space.  Longer entries win.  The caller frees *out. */
ws_status ws_wordlist_pattern(const json_t *words, const char *where, char **out, ws_err *err);

/* Words of a text for counting: runs of ASCII letters, of apostrophes inside a word and of bytes above 127, ASCII lowered.
 * Next word at or after *at: 1 and `word` holds it; 0 at the end. */
int ws_word_next(const char *text, size_t *at, ws_str *word);
#endif
