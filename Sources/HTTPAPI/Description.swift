import ControlPlane
import NIOCore

/// What the API says about itself.
enum Description {
  /// The server's version.
  static let version = hugememVersion
  /// `openapi.json`, which the package manager puts into the program.
  static let json = String(decoding: PackageResources.openapi_json, as: UTF8.self)
}

/// The page for a browser, which is one file.
enum StatusPage {
  private static let html = ByteBuffer(bytes: PackageResources.index_html)

  static var response: HTTPResponse {
    var response = HTTPResponse(.ok, "text/html; charset=utf-8", html)
    // It loads nothing from elsewhere, and no other page may show it.
    response.headers.append(
      (
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
          + "connect-src 'self'; img-src data:; frame-ancestors 'none'"
      ))
    return response
  }
}
