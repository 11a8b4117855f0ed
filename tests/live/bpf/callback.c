/* It has the kernel call a function of its own for each element of a map. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 16);
} seen SEC(".maps");

static __u64 each(void *map, __u32 *key, __u64 *value, void *context)
{
	return *value > 1;
}

SEC("tc")
int PROGRAM(struct __sk_buff *skb)
{
	bpf_for_each_map_elem(&seen, each, (void *)0, 0);
	return 0;
}

#ifdef MAIN
/* The fragment program is not all that there is. */
SEC("tc")
int calico_tc_main(struct __sk_buff *skb)
{
	return skb->len > 1;
}
#endif

char LICENSE[] SEC("license") = "GPL";
