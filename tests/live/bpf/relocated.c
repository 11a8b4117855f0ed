/* Where a field of the kernel's own lies takes the kernel's BTF to tell. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct sk_buff {
	unsigned int len;
} __attribute__((preserve_access_index));

SEC("tc")
int calico_tc_main(struct __sk_buff *skb)
{
	return bpf_core_field_exists(((struct sk_buff *)0)->len) ? 0 : 1;
}

char LICENSE[] SEC("license") = "GPL";
