/** To be imported first: schemas look at this when they are made. */
import { z } from "zod";

// zod's faster way makes code at run time, which the page's policy forbids.
z.config({ jitless: true });
