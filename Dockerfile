# Any Debian with Python 3.11 or newer will do, such as a mirror's copy of this one.
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
# The pages that `ebpfcheck checks ID` shows: the package holds a link to them.
COPY docs/checks docs/checks
COPY ebpfcheck ebpfcheck
# Another index is given to pip with --build-arg; it stays in this stage.
ARG PIP_INDEX_URL
# An environment without pip, as nothing is installed there later. Modules are compiled now, as no user may write there;
# all but half of the kubernetes package, which is never loaded.
RUN python3 -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && python3 -m venv --without-pip /opt/ebpfcheck \
    && python3 -m pip --python /opt/ebpfcheck install --no-cache-dir --no-compile /wheels/*.whl \
    && /opt/ebpfcheck/bin/python -m compileall -q -x /kubernetes/aio/ --invalidation-mode unchecked-hash /opt/ebpfcheck

FROM ${PYTHON_IMAGE}
# bpftool         what is attached to the network devices; without it only what tc shows
# ethtool         offloads
# iproute2        addresses, VXLAN devices, filters (ip, tc)
# iptables        chains of kube-proxy, in the tables of either iptables
# nftables        tables and chains (nft)
# openssh-client  hosts over SSH
# What else the survey uses comes with every Debian: sh, bash, coreutils, findutils, grep, gzip, sed, util-linux.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bpftool ethtool iproute2 iptables nftables openssh-client \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --key HOME_MODE=0755 ebpfcheck
COPY --from=build /opt/ebpfcheck /opt/ebpfcheck
# That home is open to, and HOME names it for, whoever is to run it as another user: the owner of a kubeconfig that is
# mounted there, or the number that OpenShift picks.
ENV PATH=/opt/ebpfcheck/bin:$PATH HOME=/home/ebpfcheck

ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="ebpfcheck" \
      org.opencontainers.image.description="Preflight for Calico's eBPF dataplane" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# A number, which is what runAsNonRoot takes.
USER 10001:10001
WORKDIR /home/ebpfcheck
ENTRYPOINT ["ebpfcheck"]
