#!/usr/bin/env python3
"""The Python `kubernetes` client against a cluster with nodes.

  python_client.py KUBECONFIG

The last line says how many checks passed and failed.
"""
import sys
import time
import uuid

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream

IMAGE = 'steersman.local/web:v1'


def status(answer):
    """Of a deletion, whose answer some versions of the client leave a dict."""
    return answer['status'] if isinstance(answer, dict) else answer.status


class Suite:
    def __init__(self, kubeconfig):
        config.load_kube_config(kubeconfig)
        self.core, self.apps = client.CoreV1Api(), client.AppsV1Api()
        self.namespace = 'python-' + uuid.uuid4().hex[:6]
        self.passed = self.failed = 0

    def check(self, what, good):
        self.passed, self.failed = self.passed + bool(good), self.failed + (not good)
        if not good:
            print('FAIL python client: %s' % what)

    def refused(self, what, status, call):
        try:
            call()
            self.check(what, False)
        except ApiException as e:
            self.check('%s: %s' % (what, e.status), e.status == status)

    def objects(self):
        ns, core = self.namespace, self.core
        for i in range(5):
            body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name='c%d' % i, labels={'n': str(i % 2)}), data={'a': str(i)})
            self.check('create', core.create_namespaced_config_map(ns, body).metadata.uid)
        self.refused('create twice', 409, lambda: core.create_namespaced_config_map(ns, {'metadata': {'name': 'c0'}}))
        names, token = [], None
        while True:
            page = core.list_namespaced_config_map(ns, limit=2, _continue=token)
            names += [c.metadata.name for c in page.items if c.metadata.name.startswith('c')]
            token = page.metadata._continue
            if not token:
                break
        self.check('paged list: %s' % names, names == ['c%d' % i for i in range(5)])
        self.check('selector', len(core.list_namespaced_config_map(ns, label_selector='n=1').items) == 2)
        patched = core.patch_namespaced_config_map('c0', ns, {'data': {'b': '2'}})
        self.check('strategic patch', patched.data == {'a': '0', 'b': '2'})
        patched = core.patch_namespaced_config_map('c0', ns, [{'op': 'remove', 'path': '/data/b'}])
        self.check('JSON patch', patched.data == {'a': '0'})
        patched.data = {'c': '3'}
        self.check('replace', core.replace_namespaced_config_map('c0', ns, patched).data == {'c': '3'})
        patched.metadata.resource_version = '1'
        self.refused('replace of an old version', 409, lambda: core.replace_namespaced_config_map('c0', ns, patched))
        self.refused('an invalid name', 422, lambda: core.create_namespaced_config_map(ns, {'metadata': {'name': 'A_b'}}))
        self.refused('a missing object', 404, lambda: core.read_namespaced_config_map('nope', ns))
        self.check('dry run', status(core.delete_namespaced_config_map('c1', ns, dry_run='All')) == 'Success')
        self.check('delete', status(core.delete_namespaced_config_map('c1', ns)) == 'Success')

    def watches(self):
        ns, core = self.namespace, self.core
        version = core.list_namespaced_config_map(ns).metadata.resource_version
        core.patch_namespaced_config_map('c2', ns, {'data': {'x': '1'}})
        core.delete_namespaced_config_map('c3', ns)
        seen = []
        for e in watch.Watch().stream(core.list_namespaced_config_map, ns, resource_version=version, timeout_seconds=5):
            seen.append((e['type'], e['object'].metadata.name))
            if len(seen) == 2:
                break
        self.check('watch resumed: %s' % seen, seen == [('MODIFIED', 'c2'), ('DELETED', 'c3')])
        try:
            for e in watch.Watch().stream(core.list_namespaced_config_map, ns, resource_version='1', timeout_seconds=3):
                # Events that are still kept may be told; what is too old must be said.
                break
            self.check('watch from the first version is answered', True)
        except ApiException as e:
            self.check('watch that is too old', e.status == 410)

    def pods(self):
        ns, core = self.namespace, self.core
        pod = {'metadata': {'name': 'web'}, 'spec': {'containers': [{'name': 'web', 'image': IMAGE, 'imagePullPolicy': 'IfNotPresent'}]}}
        end = time.time() + 60
        while True:
            try:
                core.create_namespaced_pod(ns, pod)
                break
            except ApiException as e:  # the namespace's account is made by a controller
                if e.status != 403 or time.time() > end:
                    raise
                time.sleep(0.1)
        for e in watch.Watch().stream(core.list_namespaced_pod, ns, field_selector='metadata.name=web', timeout_seconds=60):
            if e['object'].status.phase == 'Running':
                break
        self.check('the pod runs', core.read_namespaced_pod('web', ns).status.phase == 'Running')
        out = stream(core.connect_get_namespaced_pod_exec, 'web', ns, command=['/bin/sh', '-c', 'echo out; echo err >&2; exit 3'],
                     stdout=True, stderr=True, _preload_content=False)
        out.run_forever(timeout=20)
        self.check('exec', (out.read_stdout(), out.read_stderr(), out.returncode) == ('out\n', 'err\n', 3))
        echo = stream(core.connect_get_namespaced_pod_exec, 'web', ns, command=['/bin/cat'], stdin=True, stdout=True, _preload_content=False)
        echo.write_stdin('ping\n')
        self.check('exec with input', echo.readline_stdout(timeout=10) == 'ping')
        echo.close()
        answer = b''
        for _ in range(50):  # the server in the container may need a moment
            forward = portforward(core.connect_get_namespaced_pod_portforward, 'web', ns, ports='8080')
            s = forward.socket(8080)
            if s:
                s.setblocking(True)
                s.settimeout(10)
                s.sendall(b'GET /cgi-bin/hostname HTTP/1.0\r\n\r\n')
                answer = b''
                try:
                    while chunk := s.recv(4096):
                        answer += chunk
                except OSError:
                    pass
            if answer:
                break
            time.sleep(0.1)
        self.check('port-forward: %r' % answer, b'web' in answer)
        self.check('logs', isinstance(core.read_namespaced_pod_log('web', ns), str))
        core.delete_namespaced_pod('web', ns, grace_period_seconds=0)
        self.refused('the deleted pod', 404, lambda: core.read_namespaced_pod('web', ns))

    def run(self):
        self.core.create_namespace({'metadata': {'name': self.namespace}})
        try:
            self.objects()
            self.watches()
            self.pods()
        finally:
            self.core.delete_namespace(self.namespace)
        print('python client: %d passed, %d failed' % (self.passed, self.failed))
        return self.failed


if __name__ == '__main__':
    sys.exit(1 if Suite(sys.argv[1]).run() else 0)
