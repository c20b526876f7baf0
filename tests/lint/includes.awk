# Holds every #include against the table in includes.txt (its first file). Prints FILE:LINE: offence.

FILENAME ~ /includes\.txt$/ {
	if ($0 ~ /^#/ || NF == 0)
		next
	if ($1 ~ /^@/) {
		for (i = 2; i <= NF; i++)
			library_of[$i] = $1
		next
	}
	folder = substr($1, 1, length($1) - 1)
	allowed[folder] = " "
	for (i = 2; i <= NF; i++)
		allowed[folder] = allowed[folder] $i " "
	next
}

function begins(text, start) {
	return substr(text, 1, length(start)) == start
}

function folder_of(path,    parts, count, candidate) {
	count = split(path, parts, "/")
	while (count > 1) {
		count--
		candidate = parts[1]
		for (i = 2; i <= count; i++)
			candidate = candidate "/" parts[i]
		if (candidate in allowed)
			return candidate
	}
	return ""
}

function may(folder, what,    words, count) {
	if (allowed[folder] == " * ")
		return 1
	count = split(allowed[folder], words, " ")
	for (i = 1; i <= count; i++)
		if (what == words[i] || begins(what, words[i] "/"))
			return 1
	return 0
}

FNR == 1 {
	folder = folder_of(FILENAME)
	if (folder == "")
		printf "%s:1: its folder is not in tests/lint/includes.txt\n", FILENAME
}

folder == "" { next }

/^[ \t]*#[ \t]*include[ \t]*["<]/ {
	name = $0
	sub(/^[^"<]*["<]/, "", name)
	sub(/[">].*/, "", name)
	for (header in library_of)
		if (begins(name, header) && !may(folder, library_of[header]))
			printf "%s:%d: %s belongs to other folders (%s)\n", FILENAME, FNR, name, library_of[header]
	if (begins(name, "kfs/"))
		name = "include/" name
	if ($0 ~ /</ && !begins(name, "include/kfs/"))
		next
	# Skeletons of BPF programs are made by the build, wherever that is.
	if (name ~ /\.skel\.h$/)
		next
	if (name !~ /\//) {
		printf "%s:%d: \"%s\" is not written from the root\n", FILENAME, FNR, name
		next
	}
	if (!begins(name, folder "/") && !may(folder, name))
		printf "%s:%d: %s may not include %s\n", FILENAME, FNR, folder, name
}
