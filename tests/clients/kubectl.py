#!/usr/bin/env python3
"""Drives an apiserver with a kubectl of any version from 1.20 on, as its users do: each line of a table is a command and
what it must print. Needs the controllers, since deletion in cascade is theirs, but no images.

  kubectl.py --kubectl PATH --kubeconfig FILE

The last line says how many commands passed and failed.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import uuid

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: 'example.com/web:1', ports: [{containerPort: 8080, name: http}]}
"""
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, labels: {set: pruned}}\ndata: {a: '%s'}\n"
POD = """
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: one}}
spec: {containers: [{name: main, image: 'example.com/one:1'}]}
"""
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}\n"


class Kubectl:
    def __init__(self, program, kubeconfig, namespace):
        self.command = [program, '--kubeconfig', kubeconfig, '--namespace', namespace]
        self.namespace = namespace
        self.passed = self.failed = 0
        # Discovery that another version cached must not be taken for the server's.
        self.environment = dict(os.environ, HOME=tempfile.mkdtemp(), KUBE_EDITOR=os.path.join(os.path.dirname(os.path.abspath(__file__)), 'editor.sh'))
        version = json.loads(self.run(['version', '--client', '-o', 'json'])[1])['clientVersion']
        self.minor = int(re.match(r'\d+', version['minor']).group())

    def run(self, args, stdin='', timeout=120):
        p = subprocess.run(self.command + args, input=stdin, capture_output=True, text=True, timeout=timeout, env=self.environment)
        return p.returncode, p.stdout, p.stderr

    def left(self):
        """What the namespace holds, and what keeps it there."""
        columns = 'KIND:.kind,NAME:.metadata.name,DELETED:.metadata.deletionTimestamp,FINALIZERS:.metadata.finalizers,NODE:.spec.nodeName,STATUS:.status'
        return self.run(['get', 'deployments,replicasets,pods', '-o', 'custom-columns=' + columns])[1]

    def check(self, command, *wanted, stdin='', fails=False, since=0, until=99, absent=()):
        """Runs a command; every wanted regular expression must be found in what it prints, no absent one may."""
        if not since <= self.minor <= until:
            return ''
        args = command.replace('{ns}', self.namespace).split(' ') if isinstance(command, str) else command
        wrong = []
        try:
            code, out, err = self.run(args, stdin)
        except subprocess.TimeoutExpired:
            code, out, err = 0, '', self.left()
            wrong.append('did not end')
        if (code != 0) != fails:
            wrong.append('exit code %d' % code)
        wrong += ['lacks %s' % w for w in wanted if not re.search(w, out + err, re.M)]
        wrong += ['has %s' % w for w in absent if re.search(w, out + err, re.M)]
        if wrong:
            self.failed += 1
            print('FAIL kubectl 1.%d %s: %s\n%s' % (self.minor, ' '.join(args), '; '.join(wrong), (err + out)[:1500]))
        else:
            self.passed += 1
        return out


def cluster(k):
    k.check('version', r'Server Version')
    k.check('cluster-info', r'is running at')
    k.check('api-versions', r'^apps/v1$', r'^v1$', r'^resource\.k8s\.io/v1$')
    k.check('get --raw /readyz', r'^ok$')
    k.check('get --raw /api/v1/namespaces/{ns}', r'"kind": ?"Namespace"')
    k.check('auth can-i create pods', r'^yes$')
    k.check('auth can-i create pods --as nobody', r'^no', fails=True)
    k.check('auth can-i --list', r'\*\.\*')
    k.check('auth whoami', r'kubernetes-admin|admin', since=28)
    k.check('top nodes', r'Metrics API not available|metrics', fails=True)
    k.check('get componentstatuses', r'etcd-0')
    k.check('options', r'--kubeconfig')


def every_resource(k):
    """`get -o wide`, `explain --recursive` and `describe` of whatever the server has."""
    code, out, _ = k.run(['api-resources', '--no-headers', '-o', 'wide'])
    lines = [line for line in out.splitlines() if line.strip()]
    if code or len(lines) < 60:
        k.failed += 1
        print('FAIL api-resources lists %d' % len(lines))
    for line in lines:
        name = line.split()[0]
        version = next(w for w in line.split() if re.fullmatch(r'([a-z0-9.]+/)?v\d\S*', w))
        group = version.rpartition('/')[0]
        full = name + ('.%s.%s' % (version.rpartition('/')[2], group) if group else '')
        if re.search(r'\blist\b', line):
            k.check(['get', full, '-o', 'wide', '--all-namespaces'], absent=[r'^[Ee]rror'])
            k.check(['get', full, '-A', '-o', 'name'])
        explain = ['explain', name, '--recursive'] + (['--api-version', version] if version != 'v1' else [])
        k.check(explain, r'KIND:', r'FIELDS:' if name != 'bindings' else r'KIND', r'metadata')
    k.check('explain pods.spec.containers.ports', r'containerPort', r'Number of port to expose')
    k.check('explain deployment.spec.strategy', r'rollingUpdate')
    k.check('explain pods.nope', r'field "nope" does not exist', fails=True)
    for kind in ['nodes', 'namespaces', 'services', 'clusterroles', 'priorityclasses', 'flowschemas', 'prioritylevelconfigurations']:
        k.check(['describe', kind, '-A'] if kind == 'services' else ['describe', kind])


def client_side(k):
    k.check('apply -f -', r'deployment.apps/web created', stdin=DEPLOYMENT)
    k.check('apply -f -', r'deployment.apps/web unchanged', stdin=DEPLOYMENT)
    k.check('diff -f -', r'\+ *replicas: 3', stdin=DEPLOYMENT.replace('replicas: 2', 'replicas: 3'), fails=True)
    k.check('diff -f -', stdin=DEPLOYMENT)
    k.check('apply -f -', r'configured', stdin=DEPLOYMENT.replace('replicas: 2', 'replicas: 3'))
    k.check('get deployment web -o jsonpath={.spec.replicas}', r'^3$')
    k.check('scale deployment web --replicas 1', r'scaled')
    k.check('set image deployment/web main=example.com/web:2', r'image updated')
    k.check('rollout history deployment/web', r'REVISION')
    k.check('rollout pause deployment/web', r'paused')
    k.check('rollout resume deployment/web', r'resumed')
    k.check('rollout restart deployment/web', r'restarted')
    k.check('label deployment web tier=front', r'labeled')
    k.check('label deployment web tier=back', r'already has a value|overwrite', fails=True)
    k.check('annotate deployment web note=hello', r'annotated')
    k.check('get deployments -l tier=front -o name', r'deployment.apps/web')
    k.check(['patch', 'deployment', 'web', '--type', 'merge', '-p', '{"spec":{"replicas":4}}'], r'patched')
    k.check(['patch', 'deployment', 'web', '--type', 'json', '-p', '[{"op":"replace","path":"/spec/replicas","value":5}]'], r'patched')
    k.check(['patch', 'deployment', 'web', '-p', '{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"example.com/web:3"}]}}}}'], r'patched')
    k.check('get deployment web -o jsonpath={.spec.replicas}{.spec.template.spec.containers[0].image}', r'^5example.com/web:3$')
    k.check('edit deployment web', r'deployment.apps/web edited')
    k.check('get deployment web -o jsonpath={.metadata.annotations.edited}', r'^yes$')
    k.check('autoscale deployment web --max 3', r'autoscaled')
    k.check('expose deployment web --port 80', r'exposed')
    k.check('describe deployment web', r'Replicas:', r'example.com/web:3')
    k.check('describe service web', r'TargetPort:')
    k.check('describe hpa web', r'Max replicas:')
    k.check('get replicasets -o wide', r'pod-template-hash')
    k.check('wait deployment/web --for=delete --timeout=1s', r'timed out', fails=True)
    k.check('delete deployment web --cascade=orphan', r'deleted')
    k.check('get replicasets -o name', r'replicaset.apps/web-')
    k.check('delete replicasets --all', r'deleted')
    k.check('delete hpa,service web', r'deleted')


def server_side(k):
    k.check('apply --server-side -f -', r'serverside-applied', stdin=DEPLOYMENT)
    k.check('apply --server-side --field-manager other -f -', r'conflict', fails=True, stdin=DEPLOYMENT.replace('replicas: 2', 'replicas: 9'))
    k.check('apply --server-side --field-manager other --force-conflicts -f -', r'serverside-applied', stdin=DEPLOYMENT.replace('replicas: 2', 'replicas: 9'))
    k.check('diff --server-side -f -', r'replicas', fails=True, stdin=DEPLOYMENT.replace('replicas: 2', 'replicas: 8'))
    k.check('delete deployment web --cascade=foreground', r'deleted')
    k.check('get replicasets', r'No resources found')
    k.check('create --dry-run=server -f -', r'pod/one created \(server dry run\)', stdin=POD)
    k.check('get pod one', r'not found', fails=True)
    k.check('apply --prune -l set=pruned -f -', r'a created', r'b created', since=25, stdin=CONFIG % ('a', 1) + '---\n' + CONFIG % ('b', 1))
    k.check('apply --prune -l set=pruned -f -', r'configmap/b pruned', since=25, stdin=CONFIG % ('a', 2))
    k.check('apply -f -', stdin=CONFIG % ('a', 2))
    k.check('replace -f -', r'replaced', stdin=CONFIG % ('a', 3))
    k.check('replace --force -f -', r'replaced', stdin=CONFIG % ('a', 4))
    k.check('get configmap a -o go-template={{.data.a}}', r'^4$')
    k.check(['get', 'configmaps', '--sort-by', '.metadata.name', '-o', 'custom-columns=N:.metadata.name'], r'^a$')
    k.check('delete configmap a', r'deleted')


# What `create` makes, and the first version that makes it in a version of the API that is still served.
GENERATORS = [
    (20, 'configmap c --from-literal=a=b'),
    (20, 'secret generic s --from-literal=a=b'),
    (20, 'secret tls t --cert={pki}/admin.crt --key={pki}/admin.key'),
    (20, 'secret docker-registry d --docker-server=example.com --docker-username=u --docker-password=p'),
    (20, 'deployment g --image=example.com/g:1'),
    (20, 'job j --image=example.com/g:1'),
    (21, 'cronjob cj --image=example.com/g:1 --schedule=@hourly'),
    (20, 'service clusterip sc --tcp=80:80'),
    (20, 'service nodeport sn --tcp=80:80'),
    (20, 'service loadbalancer sl --tcp=80:80'),
    (20, 'service externalname se --external-name=example.com'),
    (20, 'serviceaccount sa'),
    (20, 'role r --verb=get --resource=pods'),
    (20, 'rolebinding rb --role=r --user=u'),
    (20, 'quota q --hard=pods=10'),
    (20, 'ingress i --rule=example.com/*=sc:80'),
    (22, 'poddisruptionbudget p --selector=app=g --min-available=1'),
]
CLUSTER_GENERATORS = ['namespace {ns}-x', 'clusterrole {ns}-x --verb=get --resource=pods',
                      'clusterrolebinding {ns}-x --clusterrole={ns}-x --user=u', 'priorityclass {ns}-x --value=10']


def generators(k, kubeconfig):
    pki = os.path.join(os.path.dirname(kubeconfig), 'pki')
    for since, line in GENERATORS:
        k.check(['create'] + line.replace('{pki}', pki).split(' '), r'created', since=since)
    for line in CLUSTER_GENERATORS:
        words = line.replace('{ns}', k.namespace).split(' ')
        k.check(['create'] + words, r'created')
        k.check(['delete', words[0], words[1]], r'deleted')
    k.check('create token sa', r'^eyJ', since=24)
    k.check('run one --image=example.com/one:1', r'pod/one created')
    k.check('run one --image=example.com/one:1', r'AlreadyExists', fails=True)
    # Before pods are replaced: one that goes between the list and its description is an error.
    k.check('describe all')
    k.check('set env deployment/g A=b', r'env updated')
    k.check('set resources deployment g --limits=cpu=1', r'resource requirements updated')
    k.check('set serviceaccount deployment g sa', r'serviceaccount updated')
    for kind in ['configmaps', 'secrets', 'serviceaccounts', 'roles', 'rolebindings', 'quota', 'ingress', 'jobs']:
        k.check(['describe', kind], r'Name: +\S')
    for kind in ['pdb', 'cronjobs']:
        k.check(['describe', kind], r'Name: +\S', since=25)
    k.check('get all', r'deployment.apps/g', r'job.batch/j')
    k.check('get pods one -o yaml', r'name: one')
    k.check('get pod one --watch-only --request-timeout=1s')
    k.check('get events')
    k.check('events', since=26)
    k.check('wait pod/one --for=condition=Ready --timeout=1s', r'timed out', fails=True)
    k.check('wait pod/one --for=jsonpath={.spec.containers[0].name}=one --timeout=5s', r'condition met', since=23)
    k.check('logs one', r'does not have a host assigned|is waiting to start', fails=True)
    k.check('delete pod one --now', r'deleted')
    k.check('delete pods nope', r'pods "nope" not found', fails=True)
    k.check('delete deployment,job,cronjob,service --all', r'deleted')


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--kubectl', default='kubectl')
    ap.add_argument('--kubeconfig', required=True)
    a = ap.parse_args()
    namespace = 'kubectl-' + uuid.uuid4().hex[:6]
    k = Kubectl(a.kubectl, a.kubeconfig, namespace)
    k.check(['create', 'namespace', namespace], r'created')
    k.run(['wait', '--for=create', 'serviceaccount/default', '--timeout=10s'])
    try:
        cluster(k)
        every_resource(k)
        client_side(k)
        server_side(k)
        generators(k, a.kubeconfig)
    finally:
        k.run(['delete', 'namespace', namespace, '--wait=false'])
    print('kubectl 1.%d: %d passed, %d failed' % (k.minor, k.passed, k.failed))
    sys.exit(1 if k.failed else 0)


if __name__ == '__main__':
    main()
