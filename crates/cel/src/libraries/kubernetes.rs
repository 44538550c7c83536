//! What Kubernetes adds (rule: apiserver `pkg/cel/library`).

pub(super) const LISTS: &[&str] = &[
    "list(int).isSorted() bool",
    "list(uint).isSorted() bool",
    "list(double).isSorted() bool",
    "list(bool).isSorted() bool",
    "list(duration).isSorted() bool",
    "list(timestamp).isSorted() bool",
    "list(string).isSorted() bool",
    "list(bytes).isSorted() bool",
    "list(int).sum() int",
    "list(uint).sum() uint",
    "list(double).sum() double",
    "list(duration).sum() duration",
    "list(int).max() int",
    "list(uint).max() uint",
    "list(double).max() double",
    "list(bool).max() bool",
    "list(duration).max() duration",
    "list(timestamp).max() timestamp",
    "list(string).max() string",
    "list(bytes).max() bytes",
    "list(int).min() int",
    "list(uint).min() uint",
    "list(double).min() double",
    "list(bool).min() bool",
    "list(duration).min() duration",
    "list(timestamp).min() timestamp",
    "list(string).min() string",
    "list(bytes).min() bytes",
    "list(T).indexOf(T) int",
    "list(T).lastIndexOf(T) int",
];

pub(super) const REGEX: &[&str] =
    &["string.find(string) string", "string.findAll(string) list(string)", "string.findAll(string, int) list(string)"];

pub(super) const URLS: &[&str] = &[
    "url(string) kubernetes.URL",
    "isURL(string) bool",
    "kubernetes.URL.getScheme() string",
    "kubernetes.URL.getHost() string",
    "kubernetes.URL.getHostname() string",
    "kubernetes.URL.getPort() string",
    "kubernetes.URL.getEscapedPath() string",
    "kubernetes.URL.getQuery() map(string, list(string))",
];

pub(super) const QUANTITIES: &[&str] = &[
    "quantity(string) kubernetes.Quantity",
    "isQuantity(string) bool",
    "kubernetes.Quantity.sign() int",
    "kubernetes.Quantity.isGreaterThan(kubernetes.Quantity) bool",
    "kubernetes.Quantity.isLessThan(kubernetes.Quantity) bool",
    "kubernetes.Quantity.compareTo(kubernetes.Quantity) int",
    "kubernetes.Quantity.asApproximateFloat() double",
    "kubernetes.Quantity.asInteger() int",
    "kubernetes.Quantity.isInteger() bool",
    "kubernetes.Quantity.add(kubernetes.Quantity) kubernetes.Quantity",
    "kubernetes.Quantity.add(int) kubernetes.Quantity",
    "kubernetes.Quantity.sub(kubernetes.Quantity) kubernetes.Quantity",
    "kubernetes.Quantity.sub(int) kubernetes.Quantity",
];

pub(super) const ADDRESSES: &[&str] = &[
    "ip(string) net.IP",
    "isIP(string) bool",
    "ip.isCanonical(string) bool",
    "net.IP.family() int",
    "net.IP.isUnspecified() bool",
    "net.IP.isLoopback() bool",
    "net.IP.isLinkLocalMulticast() bool",
    "net.IP.isLinkLocalUnicast() bool",
    "net.IP.isGlobalUnicast() bool",
    "string(net.IP) string",
    "cidr(string) net.CIDR",
    "isCIDR(string) bool",
    "net.CIDR.containsIP(string) bool",
    "net.CIDR.containsIP(net.IP) bool",
    "net.CIDR.containsCIDR(string) bool",
    "net.CIDR.containsCIDR(net.CIDR) bool",
    "net.CIDR.ip() net.IP",
    "net.CIDR.masked() net.CIDR",
    "net.CIDR.prefixLength() int",
    "string(net.CIDR) string",
];

pub(super) const FORMATS: &[&str] = &[
    "kubernetes.NamedFormat.validate(string) optional_type(list(string))",
    "format.named(string) optional_type(kubernetes.NamedFormat)",
    "format.dns1123Label() kubernetes.NamedFormat",
    "format.dns1123Subdomain() kubernetes.NamedFormat",
    "format.dns1035Label() kubernetes.NamedFormat",
    "format.qualifiedName() kubernetes.NamedFormat",
    "format.dns1123LabelPrefix() kubernetes.NamedFormat",
    "format.dns1123SubdomainPrefix() kubernetes.NamedFormat",
    "format.dns1035LabelPrefix() kubernetes.NamedFormat",
    "format.labelValue() kubernetes.NamedFormat",
    "format.uri() kubernetes.NamedFormat",
    "format.uuid() kubernetes.NamedFormat",
    "format.byte() kubernetes.NamedFormat",
    "format.date() kubernetes.NamedFormat",
    "format.datetime() kubernetes.NamedFormat",
];

pub(super) const SEMVER: &[&str] = &[
    "semver(string) kubernetes.Semver",
    "semver(string, bool) kubernetes.Semver",
    "isSemver(string) bool",
    "isSemver(string, bool) bool",
    "kubernetes.Semver.isGreaterThan(kubernetes.Semver) bool",
    "kubernetes.Semver.isLessThan(kubernetes.Semver) bool",
    "kubernetes.Semver.compareTo(kubernetes.Semver) int",
    "kubernetes.Semver.major() int",
    "kubernetes.Semver.minor() int",
    "kubernetes.Semver.patch() int",
];

pub(super) const AUTHORIZER: &[&str] = &[
    "kubernetes.authorization.Authorizer.path(string) kubernetes.authorization.PathCheck",
    "kubernetes.authorization.Authorizer.group(string) kubernetes.authorization.GroupCheck",
    "kubernetes.authorization.Authorizer.serviceAccount(string, string) kubernetes.authorization.Authorizer",
    "kubernetes.authorization.PathCheck.check(string) kubernetes.authorization.Decision",
    "kubernetes.authorization.GroupCheck.resource(string) kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.ResourceCheck.subresource(string) kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.ResourceCheck.namespace(string) kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.ResourceCheck.name(string) kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.ResourceCheck.fieldSelector(string) kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.ResourceCheck.labelSelector(string) kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.ResourceCheck.check(string) kubernetes.authorization.Decision",
    "kubernetes.authorization.Decision.errored() bool",
    "kubernetes.authorization.Decision.error() string",
    "kubernetes.authorization.Decision.allowed() bool",
    "kubernetes.authorization.Decision.reason() string",
];

pub(super) const JSON_PATCH: &[&str] = &["jsonpatch.escapeKey(string) string"];
