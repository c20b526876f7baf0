/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Option words. Every number is parsed to its end and bounded here; what depends on the size
 * of the target is bounded in geometry.c.
 */
#include "mkfs/options.h"

#include "mkfs/say.h"

#include "include/kfs/ext4_format.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uuid/uuid.h>

static const char help_text[] =
	"Usage: mkfs.kfs [OPTIONS] IMAGE|DEVICE [SIZE]\n"
	"Makes an ext4 filesystem. SIZE is in blocks of -b (else KiB), or with K, M, G or T.\n\n"
	"  -b BYTES      block size: 1024, 2048 or 4096 (by size)\n"
	"  -d DIR        fill it with a copy of the tree DIR\n"
	"  -e WORD       on errors: continue, remount-ro or panic (continue)\n"
	"  -E WORDS      lazy_itable_init=0|1 lazy_journal_init=0|1 discard nodiscard\n"
	"                root_owner[=UID:GID] root_perms=MODE offset=BYTES hash_seed=UUID\n"
	"                stride=BLOCKS stripe_width=BLOCKS num_backup_sb=0..2\n"
	"                mmp_update_interval=SECONDS orphan_file_size=BYTES\n"
	"                assume_storage_prezeroed no_copy_xattrs\n"
	"  -F            overwrite a filesystem or partition table\n"
	"  -g BLOCKS     blocks per group\n"
	"  -G GROUPS     groups whose metadata lies together (16)\n"
	"  -i BYTES      one inode for so many bytes (by size)\n"
	"  -I BYTES      inode size (256)\n"
	"  -j            with a journal (default for ext3 and ext4)\n"
	"  -J size=MIB   size of the journal (by size)\n"
	"  -L LABEL      volume label, 16 bytes at most\n"
	"  -m PERCENT    blocks reserved for root (5)\n"
	"  -M DIR        directory last mounted on\n"
	"  -n            show what would be made, write nothing\n"
	"  -N COUNT      number of inodes\n"
	"  -O FEATURES   features to add, or with ^ to leave out\n"
	"  -q            say nothing but errors\n"
	"  -t TYPE       ext2, ext3 or ext4 (ext4)\n"
	"  -T USAGE      floppy, small, default, big, huge, news, largefile or largefile4\n"
	"  -U UUID       a UUID, or clear, random or time (random)\n"
	"  -v            say more\n"
	"  -V --version  print the version     --help  print this\n";

static bool number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret_n)
{
	char *end;
	unsigned long long n;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	n = strtoull(text, &end, 0);
	if (errno || *end || n < min || n > max)
		return false;
	*ret_n = n;
	return true;
}

bool size_parse(const char *text, uint64_t unit, uint64_t *ret_bytes)
{
	char *end;
	unsigned long long n;
	uint64_t bytes;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (*end) {
		switch (tolower((unsigned char)*end)) {
		case 's': unit = 512; break;
		case 'k': unit = UINT64_C(1) << 10; break;
		case 'm': unit = UINT64_C(1) << 20; break;
		case 'g': unit = UINT64_C(1) << 30; break;
		case 't': unit = UINT64_C(1) << 40; break;
		default: return false;
		}
		if (end[1])
			return false;
	}
	if (!n || mul_overflows((uint64_t)n, unit, &bytes) || bytes > INT64_MAX)
		return false;
	*ret_bytes = bytes;
	return true;
}

/* For options of the form -x N: says what is wrong with it. */
static bool option_number(char letter, const char *text, uint64_t min, uint64_t max,
			  uint64_t *ret_n)
{
	if (number_parse(text, min, max, ret_n))
		return true;
	warn("-%c %s: not a number from %llu to %llu", letter, text, (unsigned long long)min,
	     (unsigned long long)max);
	return false;
}

static bool power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

static bool root_owner_parse(const char *value, struct mkfs_options *o)
{
	uint64_t uid, gid;
	char text[32];
	size_t len;

	if (!value) {
		o->root_uid = getuid();
		o->root_gid = getgid();
		return true;
	}
	len = strcspn(value, ":");
	if (value[len] != ':' || len >= sizeof(text))
		return false;
	memcpy(text, value, len);
	text[len] = '\0';
	if (!number_parse(text, 0, UINT32_MAX - 1, &uid) ||
	    !number_parse(value + len + 1, 0, UINT32_MAX - 1, &gid))
		return false;
	o->root_uid = (uint32_t)uid;
	o->root_gid = (uint32_t)gid;
	return true;
}

static bool root_perms_parse(const char *value, struct mkfs_options *o)
{
	char *end;
	unsigned long mode;

	if (!value || !isdigit((unsigned char)*value))
		return false;
	mode = strtoul(value, &end, 8);
	if (*end || mode > 07777)
		return false;
	o->root_mode = (uint32_t)mode;
	return true;
}

/* A switch: the bare word means yes. */
static bool flag_parse(const char *value, bool *ret_flag)
{
	uint64_t n = 1;

	if (value && !number_parse(value, 0, 1, &n))
		return false;
	*ret_flag = n;
	return true;
}

static bool flag_off(const char *value, bool *ret_flag)
{
	bool off;

	if (!flag_parse(value, &off))
		return false;
	*ret_flag = !off;
	return true;
}

static bool u32_parse(const char *value, uint64_t min, uint64_t max, uint32_t *ret_n)
{
	uint64_t n;

	if (!value || !number_parse(value, min, max, &n))
		return false;
	*ret_n = (uint32_t)n;
	return true;
}

/* One word of -E. 1: taken, 0: a bad value, -1: no such word. */
static int extended_word(const char *word, const char *value, struct mkfs_options *o)
{
	if (!strcmp(word, "lazy_itable_init"))
		return flag_parse(value, &o->lazy_itable);
	if (!strcmp(word, "lazy_journal_init"))
		return flag_parse(value, &o->lazy_journal);
	if (!strcmp(word, "discard"))
		return flag_parse(value, &o->discard);
	if (!strcmp(word, "nodiscard"))
		return flag_off(value, &o->discard);
	if (!strcmp(word, "assume_storage_prezeroed"))
		return flag_parse(value, &o->prezeroed);
	if (!strcmp(word, "no_copy_xattrs"))
		return flag_off(value, &o->copy_xattrs);
	if (!strcmp(word, "root_owner"))
		return root_owner_parse(value, o);
	if (!strcmp(word, "root_perms"))
		return root_perms_parse(value, o);
	if (!strcmp(word, "offset"))
		return value && (!strcmp(value, "0") || size_parse(value, 1, &o->offset));
	if (!strcmp(word, "orphan_file_size"))
		return value && size_parse(value, 1, &o->orphan_bytes);
	if (!strcmp(word, "hash_seed")) {
		o->hash_seed_given = value && !uuid_parse(value, o->hash_seed);
		return o->hash_seed_given;
	}
	if (!strcmp(word, "stride"))
		return u32_parse(value, 0, UINT16_MAX, &o->raid_stride);
	if (!strcmp(word, "stripe_width") || !strcmp(word, "stripe-width"))
		return u32_parse(value, 0, UINT32_MAX, &o->raid_stripe_width);
	if (!strcmp(word, "num_backup_sb"))
		return u32_parse(value, 0, 2, &o->backup_supers);
	if (!strcmp(word, "mmp_update_interval"))
		return u32_parse(value, 1, EXT4_MMP_MAX_CHECK_INTERVAL, &o->mmp_interval);
	return -1;
}

static bool extended_parse(const char *list, struct mkfs_options *o)
{
	while (*list) {
		size_t len = strcspn(list, ",");
		char word[128], *value;
		int taken;

		if (len >= sizeof(word)) {
			warn("-E %.*s: no such word", (int)len, list);
			return false;
		}
		memcpy(word, list, len);
		word[len] = '\0';
		list += len + (list[len] == ',');
		if (!len)
			continue;
		value = strchr(word, '=');
		if (value)
			*value++ = '\0';
		taken = extended_word(word, value, o);
		if (taken > 0)
			continue;
		if (taken < 0)
			warn("-E %s: no such word", word);
		else
			warn("-E %s: a value like '%s' is not allowed", word, value ? value : "");
		return false;
	}
	return true;
}

static bool journal_parse(const char *list, struct mkfs_options *o)
{
	o->journal_wanted = true;
	if (!strncmp(list, "size=", 5) && number_parse(list + 5, 1, 10240000, &o->journal_mib))
		return true;
	if (!strncmp(list, "device=", 7))
		warn("-J %s: external journals are not supported; use -J size=MIB", list);
	else
		warn("-J %s: only size=MIB is understood", list);
	return false;
}

static bool errors_parse(const char *word, struct mkfs_options *o)
{
	static const struct {
		const char *word;
		uint16_t value;
	} words[] = { { "continue", EXT4_ERRORS_CONTINUE },
		      { "remount-ro", EXT4_ERRORS_RO },
		      { "panic", EXT4_ERRORS_PANIC } };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (!strcmp(words[i].word, word)) {
			o->errors = words[i].value;
			return true;
		}
	}
	warn("-e %s: not continue, remount-ro or panic", word);
	return false;
}

static bool reserved_parse(const char *text, struct mkfs_options *o)
{
	char *end;

	errno = 0;
	o->reserved_percent = strtod(text, &end);
	if (!errno && end != text && !*end && o->reserved_percent >= 0 && o->reserved_percent <= 50)
		return true;
	warn("-m %s: not a percentage from 0 to 50", text);
	return false;
}

static bool uuid_word_parse(const char *text, struct mkfs_options *o)
{
	uuid_t uuid;

	o->uuid = text;
	if (!strcasecmp(text, "clear") || !strcasecmp(text, "null") ||
	    !strcasecmp(text, "random") || !strcasecmp(text, "time") || !uuid_parse(text, uuid))
		return true;
	warn("-U %s: not a UUID, nor clear, random or time", text);
	return false;
}

/* The options whose value is one bounded number. */
static bool numeric_option(int letter, const char *text, struct mkfs_options *o)
{
	uint64_t n;

	switch (letter) {
	case 'b':
		if (!number_parse(text, 1024, 4096, &n) || !power_of_two(n)) {
			warn("-b %s: block sizes are 1024, 2048 and 4096", text);
			return false;
		}
		o->block_size = (uint32_t)n;
		return true;
	case 'g':
		if (!number_parse(text, 256, 65528, &n) || n % 8) {
			warn("-g %s: not a multiple of 8 from 256 to 65528", text);
			return false;
		}
		o->blocks_per_group = (uint32_t)n;
		return true;
	case 'G':
		if (!number_parse(text, 1, 1u << 30, &n) || !power_of_two(n)) {
			warn("-G %s: not a power of two from 1 to 2^30", text);
			return false;
		}
		o->flex_size = (uint32_t)n;
		return true;
	case 'i':
		if (!option_number('i', text, 1024, 64u << 20, &n))
			return false;
		o->inode_ratio = (uint32_t)n;
		return true;
	case 'I':
		if (!number_parse(text, 128, 4096, &n) || !power_of_two(n)) {
			warn("-I %s: inode sizes are powers of two from 128 to 4096", text);
			return false;
		}
		o->inode_size = (uint32_t)n;
		return true;
	default: return option_number('N', text, 1, UINT32_MAX, &o->inodes);
	}
}

static bool label_parse(const char *text, struct mkfs_options *o)
{
	if (strlen(text) > EXT4_LABEL_MAX)
		warn("-L %s: a label has %d bytes at most, the rest is cut", text, EXT4_LABEL_MAX);
	o->label = text;
	return true;
}

static bool text_option(int letter, const char *text, struct mkfs_options *o)
{
	switch (letter) {
	case 'd': o->source_dir = text; return true;
	case 'e': return errors_parse(text, o);
	case 'E': return extended_parse(text, o);
	case 'J': return journal_parse(text, o);
	case 'L': return label_parse(text, o);
	case 'm': return reserved_parse(text, o);
	case 'M': o->last_mounted = text; return true;
	case 'O': o->feature_list = text; return true;
	case 't': o->fs_type = text; return true;
	case 'T': o->usage_type = text; return true;
	case 'U': return uuid_word_parse(text, o);
	default: return numeric_option(letter, text, o);
	}
}

static bool switch_option(int letter, struct mkfs_options *o)
{
	switch (letter) {
	case 'F': o->force = true; return true;
	case 'j': o->journal_wanted = true; return true;
	case 'n': o->dry_run = true; return true;
	case 'q': o->quiet = true; return true;
	case 'v': o->verbose = true; return true;
	default: return false;
	}
}

static enum options_verdict operands_parse(int argc, char **argv, struct mkfs_options *o)
{
	if (optind >= argc) {
		warn("no image or device named: try 'mkfs.kfs --help'");
		return OPTIONS_USAGE;
	}
	o->target = argv[optind++];
	if (optind < argc) {
		const char *text = argv[optind++];

		if (!size_parse(text, o->block_size ? o->block_size : 1024, &o->size)) {
			warn("%s: not a size; a size is a number with K, M, G or T", text);
			return OPTIONS_USAGE;
		}
	}
	if (optind < argc) {
		warn("%s: one word too many: try 'mkfs.kfs --help'", argv[optind]);
		return OPTIONS_USAGE;
	}
	return OPTIONS_RUN;
}

enum options_verdict options_parse(int argc, char **argv, struct mkfs_options *ret_options)
{
	static const struct option long_options[] = { { "help", no_argument, NULL, 'h' },
						      { "version", no_argument, NULL, 'V' },
						      { 0 } };
	struct mkfs_options *o = ret_options;
	int letter;

	*o = (struct mkfs_options){
		.fs_type = "ext4",
		.reserved_percent = 5.0,
		.root_mode = 0755,
		.errors = EXT4_ERRORS_DEFAULT,
		.mmp_interval = EXT4_MMP_UPDATE_INTERVAL,
		.backup_supers = 2,
		.lazy_itable = true,
		.discard = true,
		.copy_xattrs = true,
	};
	optind = 0;
	opterr = 0;
	while ((letter = getopt_long(argc, argv, "b:d:e:E:Fg:G:i:I:jJ:L:m:M:nN:O:qt:T:U:vV",
				     long_options, NULL)) != -1) {
		if (letter == 'h') {
			fputs(help_text, stdout);
			return OPTIONS_DONE;
		}
		if (letter == 'V') {
			puts("mkfs.kfs (kfs) " KFS_VERSION);
			return OPTIONS_DONE;
		}
		if (letter == '?' || letter == ':') {
			warn("%s: no such option, or its value is missing: try 'mkfs.kfs --help'",
			     argv[optind > 1 ? optind - 1 : 1]);
			return OPTIONS_USAGE;
		}
		if (optarg ? !text_option(letter, optarg, o) : !switch_option(letter, o))
			return OPTIONS_USAGE;
	}
	return operands_parse(argc, argv, o);
}
