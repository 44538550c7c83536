# One node: a network namespace as its host, a containerd, a kubelet and a kube-proxy of its own. Sourced by up.sh.

BRIDGE=steersman0
NODE_NET=${STEERSMAN_NODE_NET:-10.89.0}
POD_CIDR=${STEERSMAN_POD_CIDR:-10.244.0.0/16}

node_name() { echo "node-$1"; }
node_ip() { echo "$NODE_NET.$((10 + $1))"; }

# The bridge that connects the hosts, with this machine at .1, and a way out for them.
make_network() {
  ip link show $BRIDGE >/dev/null 2>&1 || ip link add $BRIDGE type bridge
  ip addr replace "$NODE_NET.1/24" dev $BRIDGE
  ip link set $BRIDGE up
  sysctl -qw net.ipv4.ip_forward=1
  nft -f - <<EOF
table ip steersman
delete table ip steersman
table ip steersman {
  chain forward { type filter hook forward priority -1; policy accept; }
  chain out { type nat hook postrouting priority 100; ip saddr { $NODE_NET.0/24, $POD_CIDR } oifname != "$BRIDGE" ip daddr != { $NODE_NET.0/24, $POD_CIDR } masquerade; }
}
EOF
}

make_host() { # number
  local ns; ns=$(node_name "$1")
  ip netns list | grep -qw "$ns" && return 0
  ip netns add "$ns"
  ip link add "st-$1" type veth peer name eth0 netns "$ns"
  ip link set "st-$1" master $BRIDGE up
  ip -n "$ns" link set lo up
  ip -n "$ns" addr add "$(node_ip "$1")/24" dev eth0
  ip -n "$ns" link set eth0 up
  ip -n "$ns" route add default via "$NODE_NET.1"
  nsenter --net="/run/netns/$ns" sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.route_localnet=1
  nsenter --net="/run/netns/$ns" sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true
}

write_containerd_config() { # number folder
  cat >"$2/containerd.toml" <<EOF
version = 2
root = "$2/containerd"
state = "$2/containerd-state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "$2/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$2/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "$2/certs.d"
EOF
}

write_kubelet_config() { # number folder
  cat >"$2/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $STEERSMAN_HOME/pki/ca.crt}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: /steersman-$1
clusterDNS: [$DNS_IP]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix://$2/containerd.sock
failSwapOn: false
podLogsDir: $2/pod-logs
staticPodPath: $2/manifests
tlsCertFile: $STEERSMAN_HOME/pki/kubelet-$(node_name "$1")-server.crt
tlsPrivateKeyFile: $STEERSMAN_HOME/pki/kubelet-$(node_name "$1")-server.key
EOF
}

write_cni() { # folder pod-cidr
  mkdir -p "$1/cni"
  cat >"$1/cni/10-bridge.conflist.tmp" <<EOF
{"cniVersion": "0.4.0", "name": "steersman", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$1/cni-ipam", "ranges": [[{"subnet": "$2"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
  {"type": "loopback"}]}
EOF
  mv "$1/cni/10-bridge.conflist.tmp" "$1/cni/10-bridge.conflist"
}

start_runtime() { # number
  local dir=$STEERSMAN_HOME/nodes/$1
  mkdir -p "$dir/manifests" "$dir/pod-logs" "$dir/certs.d" "$dir/cni"
  make_host "$1"
  write_containerd_config "$1" "$dir"
  write_kubelet_config "$1" "$dir"
  NETNS=$(node_name "$1") supervise "containerd-$1" containerd --config "$dir/containerd.toml" --log-level warn
}

import_images() { # number
  local dir=$STEERSMAN_HOME/nodes/$1 tar
  wait_for 30 "containerd of $(node_name "$1")" "containerd-$1" ctr -a "$dir/containerd.sock" version
  for tar in "$IMAGES"/*.tar; do
    local mark; mark=$dir/imported-$(basename "$tar")
    [ "$mark" -nt "$tar" ] && continue
    ctr -a "$dir/containerd.sock" -n k8s.io images import "$tar" >/dev/null || die "$(basename "$tar") could not be imported"
    touch "$mark"
  done
}

start_node() { # number
  local dir=$STEERSMAN_HOME/nodes/$1 name; name=$(node_name "$1")
  NETNS=$name supervise "kubelet-$1" "$BIN/kubelet" --config "$dir/kubelet.yaml" --kubeconfig "$STEERSMAN_HOME/kubelet-$name.kubeconfig" \
    --hostname-override "$name" --node-ip "$(node_ip "$1")" --root-dir "$dir/kubelet"
  NETNS=$name supervise "kube-proxy-$1" "$BIN/kube-proxy" --kubeconfig "$STEERSMAN_HOME/kube-proxy.kubeconfig" \
    --hostname-override "$name" --cluster-cidr "$POD_CIDR"
}

# The controller gives the node its range of pod addresses; then CNI can be set up, and the others learn the route.
connect_node() { # number of-nodes
  local dir=$STEERSMAN_HOME/nodes/$1 name cidr= end=$(($(now_ms) + 60000)) other; name=$(node_name "$1")
  until [ -n "$cidr" ]; do
    cidr=$(kubectl get node "$name" -o 'jsonpath={.spec.podCIDR}' 2>/dev/null)
    [ -n "$cidr" ] && break
    [ "$(now_ms)" -gt "$end" ] && { tail -n 15 "$STEERSMAN_HOME/log/kubelet-$1.log" >&2; die "$name got no range of pod addresses; logs are in $STEERSMAN_HOME/log"; }
    sleep 0.05
  done
  write_cni "$dir" "$cidr"
  ip route replace "$cidr" via "$(node_ip "$1")"
  for other in $(seq "$2"); do
    [ "$other" = "$1" ] || ip -n "$(node_name "$other")" route replace "$cidr" via "$(node_ip "$1")"
  done
}
