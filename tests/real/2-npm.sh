#!/usr/bin/env bash
# timeout: 1800
# npm install of a large application from its cache, and the removal of node_modules.
. "$(dirname "$0")/lib.sh"
need npm node
PACKAGES="webpack webpack-cli typescript eslint jest @babel/core @babel/preset-env react react-dom express"
export npm_config_cache=$SCRATCH/npm-cache npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false
mkdir seed
# shellcheck disable=SC2086 # several words
(cd seed && npm init -y && npm install $PACKAGES) >npm-seed.log 2>&1 || {
	tail -n 5 npm-seed.log
	skip "npm install cannot reach a registry"
}

install() {
	cp "$SCRATCH/seed/package.json" "$SCRATCH/seed/package-lock.json" . &&
		npm install --prefer-offline --no-save &&
		node -e 'require("webpack"); require("typescript"); require("eslint"); require("@babel/core")'
}
remove() { rm -rf node_modules; }

both 2G install
compare_all --no-dir-size --no-times
mount_kfs kfs.img kfs
kmount ext4.img ext4
timed ext4 remove
timed kfs remove
echo "remove: $(paste -sd' ' times.txt)"
umount_kfs kfs
fsck_clean kfs.img
