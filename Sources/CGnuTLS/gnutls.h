// GnuTLS, which nbdkit, qemu and libnbd use as well.
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
