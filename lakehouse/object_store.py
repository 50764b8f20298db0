"""Reading and writing an S3 object store whose certificate a private authority has signed."""

from pyarrow.fs import FileSystem, S3FileSystem
from pyiceberg.io import (
    S3_ACCESS_KEY_ID,
    S3_ENDPOINT,
    S3_REGION,
    S3_SECRET_ACCESS_KEY,
)
from pyiceberg.io.pyarrow import PyArrowFileIO

CA_FILE = "s3.ca-file"


class S3FileIO(PyArrowFileIO):
    """PyIceberg's own, but that it can be told which authority to trust.

    PyArrow can; PyIceberg 0.12 has no property for it.
    """

    def _initialize_s3_fs(self, netloc: str | None) -> FileSystem:  # noqa: ARG002 - PyIceberg's
        properties = self.properties
        return S3FileSystem(
            endpoint_override=properties[S3_ENDPOINT],
            region=properties[S3_REGION],
            access_key=properties[S3_ACCESS_KEY_ID],
            secret_key=properties[S3_SECRET_ACCESS_KEY],
            tls_ca_file_path=properties.get(CA_FILE),
            # MinIO and its like are addressed by path.
            force_virtual_addressing=False,
        )
