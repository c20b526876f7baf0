/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The language in which damage is written down: commands with ";" between them, each
 *
 *	[!]PLACE [ARGUMENT] FIELD OP VALUE
 *
 * OP is = += -= |= &= ^=. The checksum over the field is recomputed unless "!" says not to.
 * FIELD is a field's name in the format headers, or @OFFSET:SIZE inside the place.
 *
 *	sb                        the superblock
 *	gd GROUP                  a group descriptor
 *	inode PATH                also "<N>", by number
 *	eh PATH[:i[:j]]           header of the extent tree's root, of its child i, of that one's child j
 *	ei, ee PATH[:i[:j]]#N     index or extent N of that node
 *	map PATH[:i[:j]]#N        slot N of i_block, of the block it leads to ... (one field: "slot")
 *	de DIR#NAME, de DIR#@N    a directory entry, by name or by position
 *	dxinfo DIR                the hash index's root; dxcl DIR[:i] limit and count, dxe DIR[:i]#N an entry
 *	xh PATH, xe PATH#N        xattr block: header, entry; xih PATH, xie PATH#N: those in the inode
 *	bbit BLOCK, ibit INO      a bit of a bitmap (one field: "bit")
 *	jsb, jh N, jcommit N      journal superblock, header of log block N, commit block N
 *	jrevoke N, jtag N#I       revoke header; tag I of the descriptor N (v3)
 *	jdata N#I                 the copy that this tag describes
 *	mmp                       the mmp block
 *	orphan N                  block N of the orphan file (its slots by @OFFSET:4), orphantail N
 *	block PBLK                any block, as bytes: no checksum (jblock: of the log, as jh would)
 *	node PATH:i, dirblock PATH#N   a whole block, by @OFFSET:SIZE, with its checksum
 *
 * Numbers: 12, 0x1f, -1 (all ones), and ino(PATH) blk(PATH,N) node(PATH,i[,j]) bb(G) ib(G) it(G)
 * gdt(N) jblk(N) xblk(PATH) free(N) freeino(N) blocks sb(FIELD), each with +N or -N behind it.
 */
#ifndef TESTS_IMAGES_PATCH_H
#define TESTS_IMAGES_PATCH_H

#include "tests/images/image.h"

void patch_apply(struct image *m, const char *script);

#endif
