#!/usr/bin/env bash
# Brings a cluster up. See --help.
set -u
. "$(dirname "$0")/lib/common.sh"

usage() {
  cat <<EOF
Brings a Kubernetes cluster up on this machine and prints how to use it. May be run again; scripts/down.sh removes it.

  scripts/up.sh [--nodes N] [--port P] [--service-cidr C] [--no-build] [--only apiserver] [-- EXTRA-APISERVER-FLAGS...]

  --nodes N           number of nodes, each a network namespace with a containerd of its own (default 1)
  --only apiserver    etcd and kube-apiserver alone: for trying controllers; no containers, no root's network
  --port P            port of the apiserver (default 6443)
  --service-cidr C    range of service addresses (default 10.96.0.0/16)
  --no-build          use the release binaries as they are

State is kept in \$STEERSMAN_HOME (now $STEERSMAN_HOME): pki/, admin.kubeconfig, log/, run/, etcd/, nodes/.
EOF
}

NODES=1 ONLY= PORT=6443 SERVICE_CIDR=10.96.0.0/16 NO_BUILD= EXTRA=()
while [ $# -gt 0 ]; do
  case $1 in
    --nodes) NODES=${2:-}; shift 2 || die "--nodes needs a number" ;;
    --only) ONLY=${2:-}; [ "$ONLY" = apiserver ] || die "--only knows one word: apiserver"; shift 2 ;;
    --port) PORT=${2:-}; shift 2 || die "--port needs a number" ;;
    --service-cidr) SERVICE_CIDR=${2:-}; shift 2 || die "--service-cidr needs a range" ;;
    --no-build) NO_BUILD=1; shift ;;
    -h|--help) usage; exit 0 ;;
    --) shift; EXTRA=("$@"); break ;;
    *) usage >&2; die "unknown argument $1" ;;
  esac
done
[[ $NODES =~ ^[1-9][0-9]*$ ]] && [ "$NODES" -le 200 ] || die "--nodes takes a number from 1 to 200"
[[ $PORT =~ ^[0-9]+$ ]] || die "--port takes a number"
[[ $SERVICE_CIDR =~ ^[0-9.]+/[0-9]+$ ]] || die "--service-cidr takes a range such as 10.96.0.0/16"
. "$REPO/scripts/lib/images.sh"
. "$REPO/scripts/lib/node.sh"
DNS_IP=$(echo "$SERVICE_CIDR" | awk -F'[./]' '{print $1"."$2"."$3"."$4+10}')
export KUBECONFIG=$STEERSMAN_HOME/admin.kubeconfig

need_root
need_disk "$STEERSMAN_HOME" 1024
"$REPO/scripts/down.sh" --keep-state --quiet || exit 1
port_free "$PORT" || die "port $PORT is taken: choose another with --port"

if [ -z "$NO_BUILD" ]; then need_build_tools; fi
need_packages etcd-server
if [ -z "$ONLY" ]; then
  need_packages containerd runc containernetworking-plugins iptables nftables conntrack busybox-static iproute2
  need_kubectl
fi
stage_done "packages are installed"
if [ -z "$NO_BUILD" ]; then
  build
  stage_done "binaries are built"
fi
[ -x "$BIN/kube-apiserver" ] || die "$BIN/kube-apiserver is missing: run without --no-build"

# The address that the kubernetes service leads to: never loopback, and in the nodes' network if there are nodes.
if [ -n "$ONLY" ]; then
  ADVERTISE=$(ip -4 -o addr show scope global 2>/dev/null | awk '{sub("/.*","",$4); print $4; exit}')
  ADVERTISE=${ADVERTISE:-192.0.2.1}
else
  make_network || die "the bridge $BRIDGE could not be made"
  ADVERTISE=$NODE_NET.1
fi
CERTS=(--home "$STEERSMAN_HOME" --server "https://$([ -n "$ONLY" ] && echo 127.0.0.1 || echo "$ADVERTISE"):$PORT" --host "$ADVERTISE"
  --host "$(echo "$SERVICE_CIDR" | awk -F'[./]' '{print $1"."$2"."$3"."$4+1}')" --host "$(hostname)")
[ -n "$ONLY" ] || for i in $(seq "$NODES"); do CERTS+=(--node "$(node_name "$i")=$(node_ip "$i")"); done
"$BIN/steersman-certs" "${CERTS[@]}" || die "the certificates could not be made"
PKI=$STEERSMAN_HOME/pki
stage_done "keys and certificates are in $PKI"

ETCD_PORT=$(free_port $((PORT + 6000 > 60000 ? 20000 : PORT + 6000)))
PEER_PORT=$(free_port $((ETCD_PORT + 1)))
supervise etcd etcd --name steersman --data-dir "$STEERSMAN_HOME/etcd" --log-level warn \
  --listen-client-urls "https://127.0.0.1:$ETCD_PORT" --advertise-client-urls "https://127.0.0.1:$ETCD_PORT" \
  --listen-peer-urls "http://127.0.0.1:$PEER_PORT" --initial-advertise-peer-urls "http://127.0.0.1:$PEER_PORT" \
  --initial-cluster "steersman=http://127.0.0.1:$PEER_PORT" --cert-file "$PKI/etcd/server.crt" --key-file "$PKI/etcd/server.key" \
  --client-cert-auth --trusted-ca-file "$PKI/etcd/ca.crt" --auto-compaction-retention 0 --quota-backend-bytes 8589934592
[ -n "$ONLY" ] || for i in $(seq "$NODES"); do start_runtime "$i"; done
wait_for 30 etcd etcd bash -c "exec 3<>/dev/tcp/127.0.0.1/$ETCD_PORT"
supervise kube-apiserver "$BIN/kube-apiserver" --etcd-servers "https://127.0.0.1:$ETCD_PORT" --etcd-cafile "$PKI/etcd/ca.crt" \
  --etcd-certfile "$PKI/apiserver-etcd-client.crt" --etcd-keyfile "$PKI/apiserver-etcd-client.key" \
  --secure-port "$PORT" --advertise-address "$ADVERTISE" --tls-cert-file "$PKI/apiserver.crt" --tls-private-key-file "$PKI/apiserver.key" \
  --client-ca-file "$PKI/ca.crt" --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged=true \
  --service-cluster-ip-range "$SERVICE_CIDR" --service-account-issuer https://kubernetes.default.svc \
  --service-account-key-file "$PKI/sa.pub" --service-account-signing-key-file "$PKI/sa.key" \
  --kubelet-client-certificate "$PKI/apiserver-kubelet-client.crt" --kubelet-client-key "$PKI/apiserver-kubelet-client.key" \
  --kubelet-certificate-authority "$PKI/ca.crt" --kubelet-preferred-address-types InternalIP,Hostname \
  --requestheader-client-ca-file "$PKI/front-proxy-ca.crt" --requestheader-allowed-names front-proxy-client \
  --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group \
  --requestheader-extra-headers-prefix X-Remote-Extra- --proxy-client-cert-file "$PKI/front-proxy-client.crt" \
  --proxy-client-key-file "$PKI/front-proxy-client.key" --enable-bootstrap-token-auth=true "${EXTRA[@]}"
ready() {
  curl -sf -o /dev/null --cacert "$PKI/ca.crt" --cert "$PKI/admin.crt" --key "$PKI/admin.key" "https://127.0.0.1:$PORT/readyz"
}
command -v curl >/dev/null || need_packages curl
wait_for 60 kube-apiserver kube-apiserver ready
stage_done "etcd and kube-apiserver are ready at https://127.0.0.1:$PORT"

if [ -z "$ONLY" ]; then
  supervise kube-controller-manager "$BIN/kube-controller-manager" --kubeconfig "$STEERSMAN_HOME/controller-manager.kubeconfig" \
    --bind-address 127.0.0.1 --tls-cert-file "$PKI/kube-controller-manager.crt" --tls-private-key-file "$PKI/kube-controller-manager.key" \
    --service-account-private-key-file "$PKI/sa.key" --root-ca-file "$PKI/ca.crt" --cluster-signing-cert-file "$PKI/ca.crt" \
    --cluster-signing-key-file "$PKI/ca.key" --use-service-account-credentials=true --allocate-node-cidrs=true --cluster-cidr "$POD_CIDR" --service-cluster-ip-range "$SERVICE_CIDR"
  supervise kube-scheduler "$BIN/kube-scheduler" --kubeconfig "$STEERSMAN_HOME/scheduler.kubeconfig" --bind-address 127.0.0.1 \
    --tls-cert-file "$PKI/kube-scheduler.crt" --tls-private-key-file "$PKI/kube-scheduler.key"
  make_images
  for i in $(seq "$NODES"); do import_images "$i"; done
  stage_done "images are imported"
  for i in $(seq "$NODES"); do start_node "$i"; done
  for i in $(seq "$NODES"); do connect_node "$i" "$NODES"; done
  ip route replace "$SERVICE_CIDR" via "$(node_ip 1)"
  stage_done "nodes are registered and connected"
  sed "s/@DNS_IP@/$DNS_IP/" "$REPO/deploy/dns/cluster-dns.yaml" | kubectl apply -f - >/dev/null || die "cluster DNS could not be created"
  kubectl wait --for=condition=Ready node --all --timeout=60s >/dev/null || die "not all nodes became Ready; see kubectl describe node, and $STEERSMAN_HOME/log"
  stage_done "$NODES node(s) Ready"
  kubectl -n kube-system rollout status deployment/cluster-dns --timeout=60s >/dev/null || die "cluster DNS did not become ready; see kubectl -n kube-system describe pod"
  stage_done "cluster DNS is ready"
fi
printf '%6.2fs  in all\n\n' "$(echo "$(now_ms) $STARTED_MS" | awk '{print ($1-$2)/1000}')"
say "export KUBECONFIG=$KUBECONFIG"
say "kubectl get pods -A"
