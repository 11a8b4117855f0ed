# Has the kernel verify BPF objects. It is put in survey.sh, which gives it has and at, with objects.py in $program,
# objects.sh in $EBPFCHECK_OBJECTS, the directory in $directory, the image that it is in, if any, in $image, and in $seconds
# and $each how long all and each may take.

export EBPFCHECK_OBJECTS
if [ -z "$image" ]; then
    at "$directory"
    directory=$real
fi
code=3
if has python3; then
    printf '%s\n' "$program" 2>/dev/null |
        python3 -I -S -B - "$nonce" "$directory" "$seconds" "$each" 2>/dev/null
    code=$?
fi
case $code in
# libbpf cannot be used, this Python cannot read the program, or it does not run; then nothing was printed.
1 | 3 | 126 | 127) sh -c "$EBPFCHECK_OBJECTS" sh "$nonce" "$directory" "$seconds" "$each" </dev/null ;;
esac
