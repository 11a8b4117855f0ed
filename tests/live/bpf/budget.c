/* It has more ways through it than the verifier follows: each step depends on what no state may forget. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int calico_tc_main(struct __sk_buff *skb)
{
	__u64 sum = 0;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < 2000000; i++) {
		sum += skb->len ^ i;
		asm volatile("" : "+r"(sum), "+r"(i));
	}
	return sum & 1;
}

char LICENSE[] SEC("license") = "GPL";
