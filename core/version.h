/* The version of the programs and the library; the file format has its own (docs/FORMAT.md). */
#ifndef PARE_CORE_VERSION_H
#define PARE_CORE_VERSION_H

#define PARE_VERSION "0.1.0"

#endif
