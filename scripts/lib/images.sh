# Makes container images without a registry: OCI archives of what is on this machine. Sourced by up.sh.

IMAGES=$STEERSMAN_HOME/images

digest() { sha256sum "$1" | cut -d' ' -f1; }

# Packs a root folder as an OCI archive. Arguments: image name, root folder, JSON of the image's config, output file
pack_image() {
  local name=$1 root=$2 config=$3 out=$4 work; work=$(mktemp -d)
  mkdir -p "$work/blobs/sha256"
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$root" -cf "$work/layer" .
  local layer; layer=$(digest "$work/layer")
  printf '{"architecture":"amd64","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$config" "$layer" >"$work/config"
  local cfg; cfg=$(digest "$work/config")
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%s}]}' \
    "$cfg" "$(stat -c%s "$work/config")" "$layer" "$(stat -c%s "$work/layer")" >"$work/manifest"
  local man; man=$(digest "$work/manifest")
  printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"io.containerd.image.name":"%s","org.opencontainers.image.ref.name":"%s"}}]}' \
    "$man" "$(stat -c%s "$work/manifest")" "$name" "${name##*:}" >"$work/index.json"
  printf '{"imageLayoutVersion":"1.0.0"}' >"$work/oci-layout"
  mv "$work/layer" "$work/blobs/sha256/$layer"; mv "$work/config" "$work/blobs/sha256/$cfg"; mv "$work/manifest" "$work/blobs/sha256/$man"
  tar -C "$work" -cf "$out.tmp" oci-layout index.json blobs && mv "$out.tmp" "$out"
  rm -rf "$work"
}

# A binary of ours with the shared libraries it needs.
root_of_binary() { # binary root
  mkdir -p "$2"
  cp "$1" "$2/"
  local lib
  for lib in $(ldd "$1" | grep -oE '/[^ ]+'); do
    mkdir -p "$2$(dirname "$lib")" && cp -L "$lib" "$2$lib"
  done
  mkdir -p "$2/etc" "$2/tmp"
  printf 'root:x:0:0::/:/\nnobody:x:65534:65534::/:/\n' >"$2/etc/passwd"
}

# All images that a cluster needs, once for each version of what goes into them.
make_images() {
  mkdir -p "$IMAGES"
  local work; work=$(mktemp -d)
  if [ ! -e "$IMAGES/pause.tar" ]; then
    mkdir -p "$work/pause"
    rustc --edition 2024 -O -C target-feature=+crt-static -C strip=symbols -C panic=abort "$REPO/deploy/images/pause.rs" -o "$work/pause/pause" || die "pause did not compile"
    pack_image registry.k8s.io/pause:3.10 "$work/pause" '{"Entrypoint":["/pause"],"User":"65535:65535"}' "$IMAGES/pause.tar"
  fi
  if [ ! -e "$IMAGES/busybox-latest.tar" ]; then
    local b=$work/busybox; mkdir -p "$b/bin" "$b/tmp" "$b/etc" "$b/www/cgi-bin" "$b/root"
    cp "$(command -v busybox)" "$b/bin/busybox"
    local applet; for applet in $("$b/bin/busybox" --list); do [ "$applet" = busybox ] || ln -s busybox "$b/bin/$applet"; done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$b/etc/passwd"
    printf 'root:x:0:\nnobody:x:65534:\n' >"$b/etc/group"
    printf '#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n"\nhostname\n' >"$b/www/cgi-bin/hostname"; chmod +x "$b/www/cgi-bin/hostname"
    local v; for v in v1 v2; do
      printf '#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n"\necho %s\n' $v >"$b/www/cgi-bin/version"; chmod +x "$b/www/cgi-bin/version"
      pack_image "steersman.local/web:$v" "$b" '{"Env":["PATH=/bin"],"Cmd":["/bin/httpd","-f","-p","8080","-h","/www"],"ExposedPorts":{"8080/tcp":{}}}' "$IMAGES/web-$v.tar"
    done
    local tag; for tag in stable latest; do
      pack_image "docker.io/library/busybox:$tag" "$b" '{"Env":["PATH=/bin"],"Cmd":["/bin/sh"]}' "$IMAGES/busybox-$tag.tar"
    done
  fi
  if [ ! -e "$IMAGES/dns.tar" ] || [ "$BIN/cluster-dns" -nt "$IMAGES/dns.tar" ]; then
    root_of_binary "$BIN/cluster-dns" "$work/dns"
    pack_image steersman.local/cluster-dns:latest "$work/dns" '{"Entrypoint":["/cluster-dns"]}' "$IMAGES/dns.tar"
  fi
  rm -rf "$work"
}
