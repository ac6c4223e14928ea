/** The version of the mesh: services, SDKs and command line are released together. SemVer. */
export const VERSION = "0.1.0";
