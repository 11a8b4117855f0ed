/* It reads of the packet what may lie behind its end. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int calico_tc_main(struct __sk_buff *skb)
{
	__u8 *data = (void *)(long)skb->data;

	return data[skb->len & 63];
}

char LICENSE[] SEC("license") = "GPL";
