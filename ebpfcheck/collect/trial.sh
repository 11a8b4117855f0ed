# Asks the kernel itself. It is put in survey.sh, which gives it begin, end and has, with the program that asks
# in $program and how long it may take, in seconds, in $limit.

# COMMAND...: runs it, for $limit at most where there is timeout; the code is 124 where that was too short.
within_limit() {
    if has timeout; then set -- timeout "$limit" "$@"; fi
    "$@" 2>/dev/null
    limited=$?
    # That of a shell without coreutils' timeout, where a signal ended the command.
    if [ $limited -eq 143 ]; then return 124; fi
    return $limited
}

# CODE NAME: ends the frame of a command.
end_asked() {
    case $1 in
    0) end ok ;;
    124) end failed timeout ;;
    *) end failed "$2 ended with code $1" ;;
    esac
}

begin trial 'bpf(2)'
if has python3; then
    # Without the modules of whoever calls it, of the directory it is in, or of the machine's site, and writing none.
    printf '%s\n' "$program" 2>/dev/null | within_limit python3 -I -S -B -
    end_asked $? python3
else
    end no-tool python3
    begin trial-bpftool 'bpftool -j feature probe'
    if has bpftool; then
        within_limit bpftool -j feature probe </dev/null
        end_asked $? bpftool
    else
        end no-tool bpftool
    fi
fi
