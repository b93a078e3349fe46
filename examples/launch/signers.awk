# Makes C initialisers of a list of signers; stops at the first line that is none.

{ sub(/#.*/, "") }

NF == 0 { next }

$1 !~ /^[0-9a-fA-F]+$/ || length($1) != 64 || NF > 2 || (NF == 2 && $2 != "provision") {
	printf "%s:%d: not an MRSIGNER of 64 hex digits, then at most `provision`\n",
		FILENAME, FNR > "/dev/stderr"
	exit 1
}

{
	printf "{ {"
	for (i = 1; i <= 64; i += 2)
		printf " 0x%s,", substr($1, i, 2)
	printf " }, %d },\n", NF == 2
}
