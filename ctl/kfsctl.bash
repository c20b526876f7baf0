# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# Completion for kfsctl: commands, their options, and as TARGET mount points and ids.

_kfsctl() {
	local word=${COMP_WORDS[COMP_CWORD]} command='' i
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-*) ;;
		*) command=${COMP_WORDS[i]} && break ;;
		esac
	done
	local options='--json --timeout= --help --version'
	case $command in
	stats) options+=' --watch --watch= --histograms --kernel=on --kernel=off' ;;
	metrics) options='--all --timeout= --help' ;;
	map) options+=' --no-sync' ;;
	trim) options+=' --min=' ;;
	abort) options+=' --older= --guest=' ;;
	check) options+=' --stop --progress --rate= --memory=' ;;
	esac
	case $word in
	-*)
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
		[[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace
		return
		;;
	esac
	case $command in
	'') mapfile -t COMPREPLY < <(compgen -W 'list status stats metrics map cache check sync freeze thaw trim trace abort' -- "$word") ;;
	list) ;;
	map) compopt -o default ;;
	abort)
		if ((i + 1 == COMP_CWORD)) && [[ ${COMP_WORDS[*]} != *--older* ]]; then
			mapfile -t COMPREPLY < <(compgen -W "$(kfsctl stats --timeout=1 2>/dev/null |
				sed -n 's/.*in flight:.*(unique \([0-9]*\))$/\1/p')" -- "$word")
			return
		fi
		;;&
	cache)
		if ((i + 1 == COMP_CWORD)); then
			mapfile -t COMPREPLY < <(compgen -W 'show drop' -- "$word")
		else
			compopt -o default
		fi
		;;
	trace)
		if ((i + 1 == COMP_CWORD)); then
			mapfile -t COMPREPLY < <(compgen -W 'on off' -- "$word")
			return
		fi
		;;&
	*)
		local targets
		targets=$(kfsctl list --timeout=1 2>/dev/null | awk 'NR > 1 { print $1 }')
		mapfile -t COMPREPLY < <(compgen -W "$targets" -- "$word")
		compopt -o default
		;;
	esac
}
complete -F _kfsctl kfsctl
