/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The words of the command line that are about guests: do they fit together, and what follows from them. Nothing is opened
 * or allocated; what is returned points into the options, or at constants.
 */
#ifndef KFS_DAEMON_GUEST_WORDS_H
#define KFS_DAEMON_GUEST_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/base/util.h"
#include "daemon/proto/proto.h"

struct ctl_guests;
struct options;

/* Guests on stock kernels cannot be notified: what somebody else may change is believed for so long. */
#define GUEST_WORDS_TIMEOUT_S 1.0

/* False: words about guests that do not fit together, or that have no guests to be about; @why says so. */
bool guest_words_fit(const struct options *o, char *why, size_t why_len);
/* What guests mount it by, said or not. */
const char *guest_words_tag(const struct options *o);
/* Beside one guest nobody changes anything: neither the host nor another guest. */
bool guest_words_alone(const struct options *o);
/* Into @proto's maps of owners. False: @why says what is wrong, which guest_words_fit() would have said. */
bool guest_words_maps(const struct options *o, struct proto_opts *proto, char *why, size_t why_len);
enum proto_cache guest_words_cache(const struct options *o);
/* The cache= of virtiofsd; false: none of its words. */
bool guest_words_cache_named(const char *name, enum proto_cache *ret_cache);
/* Seconds that a guest believes names and attributes. @readonly: the image is. */
double guest_words_valid_s(const struct options *o, enum proto_cache cache, bool readonly);
/* For people who ask: what the guests of vhost= have in common. Points into @o. */
struct ctl_guests guest_words_told(const struct options *o, bool readonly);

#endif
